"""Live Runner's writer over a long time: many models, on virtual time, beside a tiny registry."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import cast

import pytest
from structlog.testing import capture_logs

from orchd import tasks
from orchd.advertise.listings import Listings
from orchd.advertise.live_runner import NAME
from orchd.advertise.live_runner.listings import CALLS
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.advertise.live_runner.registry import STOP_TRIES, LiveRegistry
from orchd.advertise.registry import RegistryContext
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.offer import NodeStatus, Offer, Offers
from orchd.errors import Code
from orchd.node.ports import NodeAccess, NodeAnswer, NodeCalls, NodeError
from orchd.node.route_secrets import RouteSecrets
from tests.advertise.live_runner.node import BOOTSTRAP, TINY_NODES, Said, TinyGoLivepeer, TinyLivepeerNode, TinyNode
from tests.advertise.live_runner.world import offer
from tests.advertise.rig import FakeWatch, NodeSessionsSeen
from tests.fakes.stored import FakeSecretStore
from tests.virtual_time import settle, virtual_time

CALL_S = 0.02
OTHER = RunnerRecord("text-to-image/other", persistent=False, capacity=1, price=None)


class TinyClient:
    """`NodeClient` before a `TinyNode`, which lives on the loop's clock.

    Attributes:
        beats: heartbeats by whole seconds.
        hangs: calls get no answer, and the node does not hear of them.
    """

    def __init__(self, node: TinyNode | None = None) -> None:
        self.secret: Secret | None = Secret(BOOTSTRAP)
        self.node = node or TinyGoLivepeer()
        self.beats: Counter[int] = Counter()
        self.calls: Counter[str] = Counter()
        self.hangs = False
        self.at_once = 0
        self.most_at_once = 0

    async def service(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        authorization: Secret | None = None,
    ) -> NodeAnswer:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.calls[path.rpartition("/")[2]] += 1
        try:
            await asyncio.sleep(5.0 if self.hangs else CALL_S)
        finally:
            self.at_once -= 1
        if self.hangs:
            raise NodeError("cannot reach go-livepeer: no answer")
        self.tick()
        secret = authorization.value if authorization else ""
        if path == "/runners/heartbeat":
            self.beats[int(self.node.now)] += 1
            return self._heartbeat(json.loads(body or b"{}"), secret)
        if path.endswith("/unregister"):
            return self._answer(self.node.unregister(path.split("/")[2], secret))
        runners = [_shown(name, runner.record) for name, runner in self.node.listed().items()]
        return NodeAnswer(200, json.dumps([{"runners": runners}]).encode(), "application/json")

    def _heartbeat(self, said: dict[str, object], secret: str) -> NodeAnswer:
        if not said:
            self.calls["probe"] += 1
            return self._answer(self.node.probe(secret))
        record = RunnerRecord(str(said["app"]), said["mode"] == "persistent", cast(int, said["capacity"]), None)
        return self._answer(self.node.heartbeat(str(said["runner_id"]), record, secret))

    def _answer(self, said: Said) -> NodeAnswer:
        if said.status != 200:
            return NodeAnswer(said.status, said.text.encode(), "text/plain")
        body = {
            "heartbeat_interval": "5s",
            "heartbeat_ttl": f"{self.node.ttl_s:g}s",
            "session_ids": sorted(said.sessions),
        }
        if said.secret:
            body["heartbeat_secret"] = said.secret
        return NodeAnswer(200, json.dumps(body).encode(), "application/json")

    def tick(self) -> None:
        now = asyncio.get_running_loop().time()
        while self.node.now < now:
            self.node.advance(min(1.0, now - self.node.now))


def _shown(name: str, record: RunnerRecord) -> dict[str, object]:
    url, mode = f"https://o/apps/{name}/app", "persistent" if record.persistent else "single-shot"
    return {"url": url, "app": record.app, "mode": mode, "capacity": record.capacity, "capacity_used": 0}


@asynccontextmanager
async def _orchd(
    client: TinyClient, active: Callable[[ModelKey], int] = lambda key: 0
) -> AsyncIterator[tuple[Listings, LiveRegistry]]:
    listings = Listings(active=active, begun=lambda key: 0, streams=lambda key, door: 0)
    settings = OrchestratorSettings.model_validate({"service_url": "http://127.0.0.1:8935"})
    registry = LiveRegistry(
        RegistryContext(
            NodeAccess(cast(NodeCalls, client), RouteSecrets("00" * 32, 3600.0), FakeSecretStore(), FakeWatch()),
            listings,
            settings,
            lambda: None,
            NodeSessionsSeen(),
            "test",
        )
    )
    running = tasks.spawn(registry.run(), name="live runner")
    listings.set_node(NodeStatus(True, 1, 1.0, False, "", (NAME,), program=client.node.program))
    try:
        yield listings, registry
        assert not running.done(), "the registry has ended"
    finally:
        await tasks.cancel(running)


def _post(listings: Listings, *offers: Offer) -> None:
    listings.set_offers(Offers({each.key: each for each in offers}, {}))


MODELS = [offer(f"m{number}", persistent=False) for number in range(100)]


@virtual_time
async def test_a_hundred_models_are_kept_by_evenly_spread_heartbeats() -> None:
    client = TinyClient()
    async with _orchd(client) as (listings, _):
        _post(listings, *MODELS)
        await asyncio.sleep(2.0)
        assert len(client.node.listed()) == 100, "all at once at first"
        await asyncio.sleep(120.0)
        client.tick()
        assert len(client.node.listed()) == 100
        assert set(client.calls) == {"heartbeat", "discovery"}
        quiet = [client.beats[second] for second in range(10, 120)]
        assert 19 <= sum(quiet) / len(quiet) <= 21
        assert max(quiet) <= 35, "no second has the beats of all"
        assert client.most_at_once <= CALLS + 1


@virtual_time
async def test_a_withdrawal_does_not_wait_for_the_next_beat() -> None:
    client = TinyClient()
    async with _orchd(client) as (listings, _):
        _post(listings, *MODELS)
        await asyncio.sleep(30.0)
        _post(listings, *MODELS[50:])
        await asyncio.sleep(1.0)
        assert len(client.node.listed()) == 50


@virtual_time
async def test_models_that_change_their_mind_while_they_wait_for_their_turn_are_not_registered() -> None:
    client = TinyClient()
    async with _orchd(client) as (listings, _):
        _post(listings, *MODELS)
        await settle()
        _post(listings)
        await asyncio.sleep(1.0)
        assert not client.node.listed()
        assert client.calls["heartbeat"] <= 2 * CALLS, "only of those whose turn it was"


@virtual_time
async def test_after_a_long_silence_of_the_node_everything_is_there_again_at_once() -> None:
    client = TinyClient()
    async with _orchd(client) as (listings, _):
        _post(listings, *MODELS)
        await asyncio.sleep(10.0)
        client.hangs = True
        await asyncio.sleep(600.0)
        client.tick()
        assert not client.node.listed()
        client.hangs = False
        listings.set_node(NodeStatus(True, 1, 2.0, False, "", (NAME,)))
        await asyncio.sleep(7.0)  # What was under way is given up first.
        client.tick()
        assert len(client.node.listed()) == 100


@virtual_time
async def test_a_registry_that_is_not_used_is_not_spoken_to() -> None:
    client = TinyClient()
    async with _orchd(client) as (listings, _):
        listings.set_node(NodeStatus(True, 1, 1.0, False, "", ("byoc",)))
        _post(listings, *MODELS)
        await asyncio.sleep(300.0)
        assert not client.calls
        assert not listings.published[NAME]


@virtual_time
async def test_stopping_a_session_is_tried_a_few_times_and_then_left() -> None:
    client = TinyClient()
    async with _orchd(client) as (_, registry):
        client.hangs = True
        await registry.stop_session(MODELS[0].key, "gone/..?")
        assert client.calls["stop"] == STOP_TRIES
        await settle()


@pytest.mark.parametrize("kind", TINY_NODES)
def test_a_record_that_is_held_for_too_long_is_said_to_be_another_orchds(kind: type[TinyNode]) -> None:
    @virtual_time
    async def story() -> None:
        client = TinyClient(kind())
        model = MODELS[0]
        async with _orchd(client) as (listings, registry):
            name = registry.runner_id(model.key)

            async def another_beats() -> None:
                while True:
                    said = client.node.heartbeat(name, OTHER, secrets[-1])
                    secrets.append(said.secret or secrets[-1])
                    await asyncio.sleep(5.0)

            secrets = [BOOTSTRAP]
            other = tasks.spawn(another_beats(), name="another orchd")
            await asyncio.sleep(1.0)
            _post(listings, model)
            await asyncio.sleep(client.node.ttl_s)
            error = listings.published[NAME][model.key].error
            assert "held until it expires" in error, "it may be ours"
            tries = client.calls["heartbeat"] - client.calls["probe"]
            assert tries <= client.node.ttl_s / 5.0 + 1, "one in each interval"
            await asyncio.sleep(20.0)
            assert "another orchd with instance = 'test'" in listings.published[NAME][model.key].error
            await tasks.cancel(other)
            await asyncio.sleep(client.node.ttl_s + 15.0)
            assert listings.published[NAME][model.key].published
            assert not listings.published[NAME][model.key].error

    story()


@virtual_time
async def test_a_wrong_secret_is_logged_once_and_asked_about_for_all_models_together() -> None:
    client = TinyClient(TinyLivepeerNode())
    client.secret = Secret("another")
    with capture_logs() as logs:
        async with _orchd(client) as (listings, _):
            _post(listings, *MODELS)
            await asyncio.sleep(100.0)
            assert all(each.code is Code.NODE_SECRET for each in listings.published[NAME].values())
            refusals = [
                line for line in logs if line["event"] == "live_runner_error" and line["log_level"] == "warning"
            ]
            assert len(refusals) == 1
            assert client.calls["probe"] <= 8, "four rounds of tries, each at most a second long"
            client.secret = Secret(BOOTSTRAP)
            listings.wake()
            await asyncio.sleep(1.0)
            client.tick()
            assert len(client.node.listed()) == 100, "a mended secret is tried at once"


@virtual_time
async def test_a_locked_out_model_is_logged_once() -> None:
    client = TinyClient(TinyLivepeerNode())
    model = MODELS[0]
    with capture_logs() as logs:
        async with _orchd(client) as (listings, registry):
            client.node.heartbeat(registry.runner_id(model.key), OTHER, BOOTSTRAP)
            _post(listings, model)
            await asyncio.sleep(60.0)
            assert listings.published[NAME][model.key].published
    assert [line["error"].partition(";")[0] for line in logs if line["event"] == "live_runner_error"] == [
        f"cannot register {model.key} with Live Runner: Livepeer Node has a record of it whose secret was lost"
    ]


@virtual_time
async def test_an_orderly_end_loses_nothing() -> None:
    client = TinyClient(TinyLivepeerNode())
    with capture_logs() as logs:
        async with _orchd(client) as (listings, registry):
            _post(listings, *MODELS[:3])
            await asyncio.sleep(10.0)
        await registry.withdraw_all()
        assert not client.node.runners
    assert [line["event"] for line in logs if line["event"].startswith("live_runner_")] == [
        *["live_runner_registered"] * 3,
        *["live_runner_withdrawn"] * 3,
    ]


@virtual_time
async def test_a_single_shot_model_that_leaves_go_livepeer_is_unregistered_as_soon_as_its_last_job_has_ended() -> None:
    client = TinyClient()
    running = 2
    async with _orchd(client, active=lambda key: running) as (listings, registry):
        _post(listings, MODELS[0])
        await asyncio.sleep(10.0)
        name = registry.runner_id(MODELS[0].key)
        jobs = [client.node.reserve(name) for _ in range(2)]
        _post(listings)
        await asyncio.sleep(1.0)
        for job in jobs:
            await asyncio.sleep(2.3)
            running -= 1
            client.node.runners[name].sessions.discard(str(job))
            assert client.node.found(name) == (running == 0)
        await asyncio.sleep(0.2)
        assert name not in client.node.runners
