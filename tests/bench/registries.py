"""`python -m tests.bench.registries`: how fast the node learns what has changed, and what telling it costs. Markdown.

The node is the double, a process of its own. A death and a restart are measured through the whole daemon; the cost of
many models with the node's watch and the two registries alone, so that it is theirs.

--quick   every section once and briefly: tells that the bench works, not how fast anything is
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

from orchd.advertise.byoc import registry as byoc
from orchd.advertise.listings import Listings
from orchd.advertise.live_runner import registry as live
from orchd.advertise.registry import RegistryContext
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.money import Price
from orchd.domain.offer import Offer, Offers
from orchd.logs import configure_logs
from orchd.node.client import NodeClient
from orchd.node.ports import NodeAccess, NodeAnswer
from orchd.node.route_secrets import RouteSecrets, new_key
from orchd.node.watch import NodeWatch
from orchd.tasks import cancel, spawn
from tests.advertise.rig import NodeSessionsSeen
from tests.bench.report import Row, Section, markdown, spread
from tests.bench.waits import SHIPPED, all_ready
from tests.e2e.beside import SECRET, NodeProcess, orchd_beside
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import PIPELINE, Runner, process
from tests.fakes.stored import FakeSecretStore

HEAD = ("", "median", "range")
LIMIT_S = 600.0
LOOK_S = 0.005


@dataclass(frozen=True, slots=True)
class Effort:
    """Attributes:
    times: of each happening.
    seconds: how long what goes on all the time is watched.
    """

    times: int
    seconds: float
    models: int


FULL = Effort(times=5, seconds=60.0, models=100)
QUICK = Effort(times=1, seconds=1.0, models=5)


async def death_to_withdrawn(daemon: Daemon, node: NodeProcess, times: int) -> Section:
    """Measure with the model `m0` ready."""
    name, took_ms = f"{PIPELINE}/m0", []
    for _ in range(times):
        await offered(daemon, node, 1)
        [model] = await all_ready(daemon, 1)
        pid = (await Runner(model["runners"][0]["address"], daemon.client).about())["pid"]
        before = (await node.state())["unregistrations"].get(name, 0)
        os.kill(pid, signal.SIGKILL)
        killed_at = time.perf_counter()
        while (await node.state())["unregistrations"].get(name, 0) == before:  # noqa: ASYNC110 - another process
            await asyncio.sleep(LOOK_S)
        took_ms.append((time.perf_counter() - killed_at) * 1000)
    return Section(
        "From a runner's death to withdrawn from the node",
        f"kill -9 of a model's process; until BYOC has dropped its capability ({times} times).",
        HEAD,
        (spread("withdrawn", took_ms, "ms", 0),),
    )


async def restart_to_registered(daemon: Daemon, node: NodeProcess, times: int, models: int) -> Section:
    """Measure with so many models ready."""
    took_ms = []
    for _ in range(times):
        await offered(daemon, node, models)
        await node.kill()
        await node.start()
        started_at = time.perf_counter()
        await offered(daemon, node, models)
        took_ms.append((time.perf_counter() - started_at) * 1000)
    return Section(
        "From the node's restart to registered again",
        f"kill -9 of the node, and a start; from its ports open until both registries offer {models} models again "
        f"({times} times; the node is looked at every second).",
        HEAD,
        (spread("registered", took_ms, "ms", 0),),
    )


async def offered(daemon: Daemon, node: NodeProcess, count: int) -> None:
    async def so() -> bool:
        return len(await node.capabilities()) == len(await node.runners()) == count

    await daemon.until(f"the node offers {count} models", so)


class CountingClient(NodeClient):
    """Attributes:
    calls: by route, without names in it.
    """

    def __init__(self, settings: OrchestratorSettings, secret: Secret | None) -> None:
        super().__init__(settings, secret)
        self.calls: Counter[str] = Counter()

    async def _call(
        self, method: str, base: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> NodeAnswer:
        self.calls[f"{method} {path}"] += 1
        return await super()._call(method, base, path, headers, body)


async def cost(node: NodeProcess, effort: Effort) -> list[Section]:
    """Measure with a node that nobody talks to."""
    settings = OrchestratorSettings(service_url=node.url, cli_url=node.cli_url)
    client = CountingClient(settings, Secret(SECRET))
    listings = Listings(active=lambda key: 0, begun=lambda key: 0, streams=lambda key, door: 0)
    store, route_secrets, rate = FakeSecretStore(), RouteSecrets(new_key(), 86400.0), lambda: Fraction(3000)
    watch = NodeWatch(client, store, settings)
    watch.polled.connect(listings.set_node)
    node_access = NodeAccess(client, route_secrets, store, watch)
    context = RegistryContext(node_access, listings, settings, rate, NodeSessionsSeen(), secrets.token_hex(2))
    registries = []
    for name, kind in (("byoc", byoc), ("live-runner", live)):
        watch.ask(name, partial(kind.spoken, client, settings))
        registries.append(kind.make(context))
    tasks = [spawn(run, name="bench") for run in (watch.run(), *(registry.run() for registry in registries))]
    try:
        await until(lambda: listings.node.up)
        begun_at, cpu_at = time.perf_counter(), time.process_time()
        listings.set_offers(Offers({key: _offer(key) for key in (_key(number) for number in range(effort.models))}, {}))
        await until(lambda: _published(listings) == 2 * effort.models)
        registered_s, registered_cpu_s = time.perf_counter() - begun_at, time.process_time() - cpu_at
        await until(lambda: _confirmed(listings) == 2 * effort.models)
        first = client.calls.total()
        client.calls.clear()
        begun_at, cpu_at = time.perf_counter(), time.process_time()
        await asyncio.sleep(effort.seconds)
        seconds, cpu_s = time.perf_counter() - begun_at, time.process_time() - cpu_at
        per_minute = {route: count * 60 / seconds for route, count in client.calls.most_common()}
    finally:
        await cancel(*tasks)
        await client.close()
    about = f"{effort.models} models, each in BYOC and in Live Runner; one process does nothing else."
    return [
        Section(
            "Registering many models",
            about,
            ("", "wall", "CPU"),
            (Row((f"all published ({first} calls with checks)", _ms(registered_s), _ms(registered_cpu_s))),),
        ),
        Section(
            "What goes on all the time",
            f"{about} Watched for {seconds:.0f} s; {cpu_s / seconds * 100:.1f} % of a core.",
            ("", "calls per minute"),
            (
                *(Row((route, f"{count:.0f}")) for route, count in per_minute.items()),
                Row(("all", f"{sum(per_minute.values()):.0f}")),
            ),
        ),
    ]


async def until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110 - the listings's readers have no event for this
        await asyncio.sleep(LOOK_S)


def _published(listings: Listings) -> int:
    return sum(shown.published for models in listings.published.values() for shown in models.values())


def _confirmed(listings: Listings) -> int:
    return sum(bool(shown.confirmed) for models in listings.published.values() for shown in models.values())


def _key(number: int) -> ModelKey:
    return ModelKey("bench", f"m{number}")


def _offer(key: ModelKey) -> Offer:
    return Offer(key, key.slug, str(key), 2, Price(Fraction(1200)), persistent=False)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


async def bench(effort: Effort) -> None:
    print(f"# orchd bench: registries\n\n{os.cpu_count()} cores, Python {platform.python_version()}\n")
    configure_logs("text", "error", sys.stderr)
    with tempfile.TemporaryDirectory(prefix="orchd-bench-") as name:
        folder = Path(name)
        async with asyncio.timeout(LIMIT_S):
            instance = f"bench-{secrets.token_hex(4)}"
            shipped = {setting.replace(".", "__"): text for setting, text in SHIPPED.items()}
            shipped["orchestrator__poll_s"] = "1"
            models = [process(f"m{number}") for number in range(min(effort.models, 5))]
            async with (
                NodeProcess(folder / "node", "--use-live-runners") as node,
                orchd_beside(node, folder / "orchd", instance, models[0], docker=False, **shipped) as daemon,
            ):
                print(markdown(await death_to_withdrawn(daemon, node, effort.times)), flush=True)
                daemon.write(*models)
                await all_ready(daemon, len(models))
                print(markdown(await restart_to_registered(daemon, node, effort.times, len(models))), flush=True)
            async with NodeProcess(folder / "other", "--use-live-runners") as node:
                for section in await cost(node, effort):
                    print(markdown(section), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.registries", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="every section once and briefly")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(bench(QUICK if parser.parse_args().quick else FULL))
    return 0


if __name__ == "__main__":
    sys.exit(main())
