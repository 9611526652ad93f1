"""orchd, whole, beside the double of go-livepeer, with containers behind it and a gateway in front; time jumps.

What is wrong here is wrong in orchd: the truth is read from the node's own registries and from the containers, and what
should be there from the file and from the health of the containers, never from what orchd believes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import structlog

from orchd.domain.ids import ModelKey
from tests.chaos.daemon import ROTATION_S, Orchd, settings_beside
from tests.chaos.entries import ETH_USD, Entry, all_entries
from tests.chaos.gateway import Gateway
from tests.chaos.shelf import Shelf
from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.shared.clock import RealClock

SECRET = "chaos-orch-secret"
BYOC, LIVE_RUNNER = "byoc", "live-runner"

# Bounds, in seconds of the loop. On chain a lost slot can't be seen: it takes a recount.
QUIET_S = 240.0
AGAIN_S = 5.0
"""From the node's being up to all being registered again."""
SLOTS_S = 60.0
STEADY_S = 3.0
AWAY_S = 600.0


@dataclass
class World:
    """Attributes:
    entries: what stands in aiModels.json.
    missing: entries that were taken out of it.
    away_since: loop clock; None = the node can be reached.
    story: the steps.
    log: the last words of orchd's.
    """

    node: Node
    orchd: Orchd
    shelf: Shelf
    file: Path
    gateway: Gateway
    entries: dict[ModelKey, Entry]
    missing: dict[ModelKey, Entry] = field(default_factory=dict)
    away_since: float | None = None
    story: list[str] = field(default_factory=list)
    log: deque[str] = field(default_factory=lambda: deque(maxlen=150))
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)

    @property
    def now(self) -> float:
        return self._loop.time()

    @property
    def well(self) -> bool:
        """The node answers as it should."""
        return self.away_since is None and not self.node.faults.hanging and not self.node.faults.fail

    @property
    def on_chain(self) -> bool:
        return self.node.settings.on_chain is not None

    # The file.

    async def write(self) -> None:
        """Put `entries` into aiModels.json, and wait until orchd has read it."""
        self.file.write_text(json.dumps([entry.said() for entry in self.entries.values()]))
        for key, entry in self.entries.items():
            self.shelf.allowed[key] = max(self.shelf.allowed[key], entry.most)
        if self.orchd.app is not None:
            await self.until(
                "orchd has read its file",
                lambda: all(self.orchd.most(key) == entry.most for key, entry in self.entries.items()),
                10,
            )

    # What is there, and what should be.

    def sessions(self, key: ModelKey) -> int:
        """Return how many sessions there are in truth: at work in containers, or reserved at the node."""
        containers = self.shelf.of(key)
        names = set().union(*(container.streams for container in containers))
        runner = self.gateway.runner(key)
        if runner is not None and runner.persistent:
            names |= runner.sessions.keys()
        return len(names) + sum(len(container.jobs) for container in containers)

    @property
    def busy(self) -> bool:
        return any(self.sessions(key) or self.orchd.slots_taken(key) for key in self._all())

    def _all(self) -> list[ModelKey]:
        return [*self.entries, *self.missing]

    def can_serve(self, entry: Entry) -> bool:
        return entry.key not in self.shelf.sick

    def should(self, registry: str) -> dict[str, tuple[int, Fraction | None]]:
        """Return capacity and wei per second that gateways should find, by name."""
        found: dict[str, tuple[int, Fraction | None]] = {}
        for entry in self.entries.values():
            price, capacity = Fraction(entry.wei) if registry == BYOC or self.on_chain else None, entry.most
            if registry == LIVE_RUNNER:
                if self.on_chain and not entry.wei:
                    continue  # There is no free runner on chain.
                runner = self.gateway.runner(entry.key)
                here = len(runner.sessions) if runner is not None else 0
                capacity = max(0, entry.most - self.sessions(entry.key)) + here
            if self.can_serve(entry) and capacity:
                found[entry.name] = capacity, price
        return found

    def offered(self, registry: str) -> dict[str, tuple[int, Fraction | None]]:
        """Return what gateways do find."""
        if registry == BYOC:
            known = self.node.byoc.capabilities.values()
            return {c.name: (c.capacity, c.price) for c in known if c.capacity > 0}
        shown = self.node.live_runners.offered()
        return {r["app"]: (r["capacity"], _wei(r.get("price_info"))) for r in shown if not self._drains(r["app"])}

    def _drains(self, name: str) -> bool:
        """Whether Live Runner lists it only for the sessions that it has."""
        runner = next(r for r in self.node.live_runners.registry.runners() if r.entry.app == name)
        return runner.free <= 0 and name not in self.should(LIVE_RUNNER)

    def open_offers(self) -> dict[str, list[str]]:
        """Return what could still be had, by registry."""
        live = [r.entry.app for r in self.node.live_runners.registry.runners() if r.free > 0]
        return {BYOC: list(self.offered(BYOC)), LIVE_RUNNER: live}

    def keep(self, _logger: object, _level: str, event: MutableMapping[str, Any]) -> str:
        """Keep a line of orchd's log; after structlog's processors."""
        self.log.append(f"{self.now:9.1f} s  {dict(event)}")
        raise structlog.DropEvent

    def leaked(self) -> dict[str, int]:
        """Return the slots that the node takes for taken, by registry and name."""
        byoc = {f"byoc {c.name}": c.load for c in self.node.byoc.capabilities.values()}
        live = {f"live {r.entry.app}": len(r.sessions) for r in self.node.live_runners.registry.runners()}
        return {name: count for name, count in (byoc | live).items() if count}

    # Invariants.

    async def until(self, what: str, holds: Callable[[], object], bound_s: float) -> None:
        end = self.now + bound_s
        while not holds():
            self.orchd.alive()
            assert self.now < end, f"{what}: not within {bound_s:g} s\n{self.picture()}"
            await asyncio.sleep(0.25)

    def true(self) -> bool:
        """The registries offer just what can be served, and `orchd status` says so."""
        for registry in (BYOC, LIVE_RUNNER):
            should = self.should(registry)
            if self.offered(registry) != should:
                return False
            if {str(key) for key in self.orchd.says_published(registry)} != should.keys():
                return False
        return True

    def slots_true(self) -> bool:
        return all(self.orchd.slots_taken(key) == self.sessions(key) for key in self._all())

    def at_any_time(self) -> None:
        """What must hold at every moment, whatever has just happened."""
        self.orchd.alive()
        assert not self.shelf.too_many, self.shelf.too_many
        for key in self._all():
            active, most = self.orchd.slots_taken(key), self.shelf.allowed[key]
            assert active <= most, f"{active} sessions of {key}, where {most} are allowed\n{self.picture()}"

    async def check(self) -> None:
        """Wait until it is quiet, and see that all is true."""
        self.at_any_time()
        if not self.well:
            return
        await self.until("all is true, and stays so for a while", self._steady(), QUIET_S)
        for entry in self.entries.values():
            self.shelf.allowed[entry.key] = max(entry.most, self.shelf.work(entry.key))
        for entry in self.entries.values():
            if self.sessions(entry.key) >= entry.most and self.can_serve(entry):
                await self._one_too_many(entry)
        self.at_any_time()

    def _steady(self) -> Callable[[], bool]:
        """Return a condition that holds when all has been true for a while, as often as it was looked at."""
        since = self.now

        def steady() -> bool:
            nonlocal since
            if not (self.slots_true() and self.true() and (self.busy or not self.leaked())):
                since = self.now
            return self.now - since >= STEADY_S

        return steady

    async def _one_too_many(self, entry: Entry) -> None:
        before = self.sessions(entry.key)
        if entry.streams:
            status = await self.gateway.start_stream(entry.key)
        else:
            status = await self.gateway.call("/process/request/", self.gateway.funded(entry.key), {})
        assert status == 503, f"a job beyond {entry.most} of {entry.key} got {status}\n{self.picture()}"
        assert self.sessions(entry.key) == before

    async def stays_true(self, seconds: float) -> None:
        """See that it stays as it is, and that nobody has anything more to say to BYOC; between two tokens.

        `seconds` is less than `recount_s`.
        """
        left_s = ROTATION_S - time.time() % ROTATION_S
        if left_s < seconds:
            await asyncio.sleep(left_s + SLOTS_S)
        before = self.node.byoc.registrations.copy()
        end = self.now + seconds
        while self.now < end:
            assert self.true(), f"it was true, and then not\n{self.picture()}"
            await asyncio.sleep(1)
        # On chain a token may not show whether the node still has a model: that is told again every `recount_s`.
        most = 1 if self.on_chain else 0
        again = {name: times for name, times in (self.node.byoc.registrations - before).items() if times > most}
        assert not again, f"registered again for nothing: {again}\n{self.picture()}"

    def picture(self) -> str:
        """Return everything that a person wants to know when it is wrong."""
        lines = [f"at {self.now:.1f} s; node {'well' if self.well else 'in trouble'}, start {self.node.starts}"]
        for registry in (BYOC, LIVE_RUNNER):
            lines += [
                f"{registry} should offer {self.should(registry)}",
                f"{registry} offers {self.offered(registry)}; orchd says {self.orchd.says_published(registry)}",
            ]
        lines.append(f"slots that the node takes for taken: {self.leaked()}")
        lines += [
            f"{key}: {self.orchd.slots_taken(key)} sessions for orchd, {self.sessions(key)} in truth"
            for key in self._all()
        ]
        return "\n".join([*lines, "what has happened:", *self.story, "what orchd said at last:", *self.log])

    # The end.

    async def end_everything(self) -> None:
        """All gateways leave, and all input ends."""
        for container in self.shelf.containers.values():
            for finish in container.jobs:
                finish.set()
        await self.gateway.leave()
        for container in self.shelf.containers.values():
            container.streams.clear()
        await self.until("no session is left", lambda: not self.busy, QUIET_S)


def _wei(shown: dict[str, Any] | None) -> Fraction | None:
    if shown is None:
        return None
    assert (shown["currency"], shown["unit"]) == ("wei", "seconds")
    return Fraction(shown["price"])


@asynccontextmanager
async def a_world(folder: Path, *, on_chain: bool) -> AsyncIterator[World]:
    """Everything up, and true."""
    secret = folder / "orch-secret"
    secret.write_text(SECRET)
    chain = Chain(eth_usd=Fraction(ETH_USD)) if on_chain else None
    node = Node(NodeSettings(orch_secret=SECRET, use_live_runners=True, on_chain=chain), RealClock())
    shelf = Shelf()
    async with node, Gateway(node, shelf) as gateway:
        orchd = Orchd(settings_beside(node, secret, folder), shelf)
        entries = {entry.key: entry for entry in all_entries(on_chain=on_chain)}
        world = World(node, orchd, shelf, folder / "aiModels.json", gateway, entries)
        structlog.configure(processors=[world.keep])
        try:
            await world.write()
            await orchd.start()
            yield world
        finally:
            structlog.reset_defaults()
            await orchd.stop()
            await shelf.clear()
