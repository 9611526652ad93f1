"""Whatever happens in whatever order, nothing is doubled, over-booked, lost or restarted for nothing; and as soon as
all is well again, what runs is what the file asks for.

Random edits, deaths of containers, of the engine and of orchd itself, on virtual time. Every call to the engine goes
on when its caller is gone, as a request that is on its way does when orchd is killed, and its answer may be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from hypothesis import given, settings
from hypothesis import strategies as st

from orchd import tasks
from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import ContainerLaunch, ExternalLaunch, Model, StopSpec
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord, SightedAs, Sighting
from orchd.errors import EngineUnavailable, JobRefused
from orchd.reconcile.settings import ReconcileSettings
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import QueuePlace
from orchd.settings.tree import Settings
from tests.fakes.models import container_model, external_model
from tests.fakes.runtime import FakeContainer, FakeRuntime
from tests.reconcile.world import World
from tests.soak import examples
from tests.virtual_time import run_virtual

S = RunnerState
T = TypeVar("T")

UNTOUCHED = container_model("untouched", "image:u", replicas=2, max_sessions=2, sessions_per_replica=1)
MANY = 99
IDLE_S = 15.0
ENTRIES = {
    "a": container_model("a", "image:0", idle_timeout_s=IDLE_S),
    "b": container_model("b", "image:0", idle_timeout_s=IDLE_S, warm=False, max_sessions=3),
    "c": container_model("c", "image:0", idle_timeout_s=IDLE_S, replicas=2, max_sessions=3, sessions_per_replica=1),
    "x": external_model("x"),
}
RULES = ReconcileSettings(backoff_max_s=8.0, drain_timeout_s=30.0)
PAUSES = (0.0, 0.0, 0.02, 0.05, 0.08, 0.12, 0.4, 1.0, 3.0, 20.0)
WORDS = (ProbeWord.FAILED, ProbeWord.ERROR, ProbeWord.LOADING, ProbeWord.UNREACHABLE, ProbeWord.BUSY, ProbeWord.READY)


class Engine(FakeRuntime):
    """Calls take effect in their middle, cancelled or not, and fail if the engine goes down before they answer.

    Looks are old when they arrive, and each effect hurries the next one.
    """

    def __init__(self, observe: Callable[[], None]) -> None:
        super().__init__(delay_s=0.05)
        self._observe = observe

    async def _through(self, call: Coroutine[Any, Any, T]) -> T:
        result: T = await asyncio.shield(tasks.spawn(call, name="engine call"))
        self._observe()
        self._stir()
        await asyncio.sleep(self.delay_s)
        if self.down:
            raise EngineUnavailable("cannot read the fake engine's answer: it was told to be down")
        return result

    async def sightings(self) -> tuple[Sighting, ...]:
        seen = await super().sightings()
        await asyncio.sleep(3 * self.delay_s)
        return seen

    async def prepare(self, model: Model, *args: Any) -> str:
        return await self._through(super().prepare(model, *args))

    async def start(self, handle: str) -> Address:
        return await self._through(super().start(handle))

    async def stop(self, handle: str, stop: StopSpec) -> Any:
        return await self._through(super().stop(handle, stop))

    async def remove(self, handle: str) -> None:
        return await self._through(super().remove(handle))


class Step(NamedTuple):
    """`what` happens to number `who` of those that it can happen to; then so much time goes by."""

    what: str
    who: int
    how: int
    pause_s: float


class Chaos:
    """One machine, what happens to it, and what must hold all the while."""

    def __init__(self, unharmed: bool) -> None:
        self.unharmed = unharmed
        self.engine = Engine(self.observe)
        self.world = World(Settings(reconcile=RULES), self.engine)
        self.lives = AsyncExitStack()
        self.entries = dict(ENTRIES)
        self.wanted = {"a", "b", "c", "x"}
        self.sessions: list[Session] = []
        self.places: list[QueuePlace] = []
        self.allowed: dict[ModelKey | RunnerId, int] = {}
        self.untouched: set[str] = set()
        self.held: Session | None = None
        self.by_hand: set[str] = set()
        self.well = False

    # -- life --------------------------------------------------------------------------------------------------------

    async def begin(self) -> None:
        await self.lives.enter_async_context(self.world.orchd())
        self.edit()

    async def die(self, pause_s: float) -> None:
        await self.lives.aclose()
        self.sessions.clear()
        self.places.clear()
        self.allowed.clear()
        self.held = None
        await asyncio.sleep(pause_s)
        await self.begin()

    def edit(self) -> None:
        """Write the file, as `entries` and `wanted` have it."""
        models = [UNTOUCHED, *(self.entries[name] for name in sorted(self.wanted))]
        self.world.want(*models)

    # -- what happens ------------------------------------------------------------------------------------------------

    async def take(self, step: Step) -> None:
        name = sorted(ENTRIES)[step.who % len(ENTRIES)]
        touchable = [c for c in self.engine.containers.values() if c.runner.key != UNTOUCHED.key]
        container = touchable[step.who % len(touchable)] if touchable else None
        match step.what:
            case "come and go":
                self.wanted ^= {name}
                self.edit()
            case "image" | "replicas" | "max_sessions" | "warm" | "limit":
                self.entries[name] = _changed(self.entries[name], step.what, step.how)
                self.edit()
            case "kill" | "vanish" | "pause" | "start by hand" | "word" if container is not None:
                self._meddle(container, step)
            case "external":
                address = Address("127.0.0.1", 9000)
                self.world.prober.words[address] = WORDS[step.how % len(WORDS)]
            case "engine":
                self.engine.down = not self.engine.down
            case "image is bad":
                self.engine.bad_images ^= {f"image:{step.how % 3}"}
            case "die":
                await self.die(step.how / 10)
            case "begin":
                self._begin(self.entries[name].key)
            case "end" if self.sessions:
                self._end(self.sessions[step.who % len(self.sessions)])
            case "restart":
                self.world.restart(self.entries[name].key)
            case "stop":
                await self.world.stop(self.entries[name])
            case "start":
                await self.world.start(self.entries[name])
            case _:
                pass
        self.observe()
        await asyncio.sleep(step.pause_s)
        self.observe()

    def _meddle(self, container: FakeContainer, step: Step) -> None:
        runs = container.status in (SightedAs.RUNNING, SightedAs.PAUSED)
        match step.what:
            case "kill" if runs:
                self.engine.kill(container.handle, exit_code=137, oom=step.how == 0)
            case "vanish":
                self.engine.vanish(container.handle)
            case "pause" if container.status is SightedAs.RUNNING:
                self.engine.pause(container.handle)
            case "start by hand" if container.status is SightedAs.CREATED:
                container.status, container.port = SightedAs.RUNNING, 20_000 + int(container.handle[1:])
                self.by_hand.add(container.handle)
            case "word" if container.address is not None:
                self.world.prober.words[container.address] = WORDS[step.how % len(WORDS)]
            case _:
                pass

    def _begin(self, key: ModelKey) -> None:
        try:
            taken = self.world.table.begin(key, SessionKind.JOB)
        except JobRefused:
            return
        if isinstance(taken, Session):
            self._began(taken)
            return
        self.places.append(taken)

        def resolve(result: Session | JobRefused) -> None:
            self.places.remove(taken)
            if isinstance(result, Session):
                self._began(result)

        taken.resolve = resolve

    def _began(self, session: Session) -> None:
        runner = self.world.loop.state.fleet.runners[session.runner]
        assert runner.state is S.READY, f"{session.runner} got a session while {runner.state}"
        assert session.address == runner.address
        loop = asyncio.get_running_loop()

        def cut(reason: str) -> None:
            runner = self.world.loop.state.fleet.runners[session.runner]
            assert runner.state is not S.DRAINING or loop.time() >= runner.drain_until, f"cut: {reason}"
            loop.call_soon(self._end, session)

        session.abort = cut
        self.sessions.append(session)
        if self.well:
            loop.call_soon(self._end, session)

    def _end(self, session: Session) -> None:
        if session in self.sessions:
            self.sessions.remove(session)
            self.world.table.end(session, Outcome.OK)

    # -- what must hold ----------------------------------------------------------------------------------------------

    def observe(self) -> None:
        """At every moment."""
        runs = [(c.runner.key, c.runner.replica) for c in self.world.running() if c.handle not in self.by_hand]
        assert len(runs) == len(set(runs)), f"doubled: {runs}"
        if self.untouched:
            assert self.untouched == {c.handle for c in self.world.running() if c.runner.key == UNTOUCHED.key}
            self._hold_on()
        table, fleet = self.world.table, self.world.loop.state.fleet
        for model in self.world.models.values():
            self._within(model.key, table.active(model.key), model.max_sessions)
        for runner in fleet.runners.values():
            if runner.id.key in self.world.loop.state.stopped:
                assert table.reason(runner.id.key), f"a session could begin on {runner.id}, which is stopped"
            assert not (runner.fault and self.unharmed), f"{runner.id}: {runner.fault}"
            self._within(runner.id, table.active_on(runner.id), runner.model.sessions_per_replica or MANY)
        if self.world.loop.converged():  # as the app does
            keep = self.world.loop.generations() | {(m.key, m.generation) for m in self.world.models.values()}
            self.world.generations = {k: m for k, m in self.world.generations.items() if k in keep}

    def _within(self, what: ModelKey | RunnerId, active: int, limit: int) -> None:
        """So many sessions and no more; a limit that was lowered cuts nobody."""
        assert active <= max(limit, self.allowed.get(what, 0)), f"{what}: {active} sessions, the limit is {limit}"
        self.allowed[what] = max(limit, active)

    def _hold_on(self) -> None:
        """A session on the untouched model begins as soon as it can, and ends with orchd alone."""
        if self.held is None and UNTOUCHED.key in self.world.loop.models() and self.world.status(UNTOUCHED).ready:
            session = self.held = self.world.begin(UNTOUCHED)

            def cut(reason: str) -> None:
                raise AssertionError(f"cut: {reason}")

            session.abort = cut
        if self.held is not None:
            assert self.world.status(UNTOUCHED).ready
            assert self.world.table.active(UNTOUCHED.key) == 1

    async def get_well(self) -> None:
        """No more harm is done: wait until all is as the file asks for."""
        self.well = True
        self.engine.down = False
        self.engine.bad_images.clear()
        self.world.prober.words.clear()
        for session in list(self.sessions):
            self._end(session)
        await asyncio.sleep(20)
        for model in self.entries.values():
            if S.FAILED in self.world.states(model):
                self.world.restart(model.key)
        await asyncio.sleep(10)
        await self.world.until_quiet()
        await self.world.until("nobody waits", holds=lambda: not self.places)
        await asyncio.sleep(IDLE_S + 10)
        await self.world.until_quiet()

    def judge(self) -> None:
        """After `get_well`."""
        self.observe()
        should = [
            f"{model.key} {model.generation}"
            for model in self.world.models.values()
            for _ in range(model.replicas)
            if model.managed and model.warm and model.key not in self.world.stopped
        ]
        containers = self.engine.containers.values()
        assert all(c.status is SightedAs.RUNNING for c in containers), containers
        assert sorted(f"{c.runner.key} {c.runner.generation}" for c in containers) == sorted(should)
        snapshot = self.world.snapshot()
        assert set(snapshot.models) == set(self.world.models)
        for model in self.world.models.values():
            status = snapshot.models[model.key]
            assert len(status.runners) == model.replicas
            stopped = model.key in self.world.stopped
            ready = (model.warm or not model.managed) and not stopped
            assert {r.state for r in status.runners} == {S.READY if ready else S.COLD}, status
            assert (status.ready, status.startable) == (ready, not ready and not stopped)
            assert status.stopped == self.world.stopped.get(model.key)
            assert self.world.table.active(model.key) == (model is UNTOUCHED)
        assert not self.sessions


def _changed(model: Model, what: str, how: int) -> Model:
    match what:
        case "image" if isinstance(model.launch, ContainerLaunch):
            return replace(model, launch=replace(model.launch, image=f"image:{how % 3}"))
        case "image":
            return replace(model, launch=ExternalLaunch(Address("127.0.0.1", 9000 + how % 2)))
        case "replicas" if model.managed:
            return replace(model, replicas=1 + how % 3)
        case "max_sessions":
            return replace(model, max_sessions=1 + how % 3)
        case "limit":
            return replace(model, sessions_per_replica=1 if how % 2 else None)
        case "warm":
            return replace(model, warm=not model.warm)
    return model


WORK = (
    *("come and go", "come and go", "image", "image", "image", "replicas", "replicas", "max_sessions", "limit", "warm"),
    *("begin", "begin", "begin", "begin", "end", "end", "restart", "stop", "start"),
)
HARM = (
    *("kill", "kill", "vanish", "pause", "start by hand", "word", "word", "external", "engine", "image is bad"),
    *("die", "die"),
)


def steps(*what: str) -> st.SearchStrategy[list[Step]]:
    step = st.builds(
        Step, st.sampled_from(what), st.integers(0, 11), st.integers(0, 5), pause_s=st.sampled_from(PAUSES)
    )
    return st.lists(step, min_size=1, max_size=40)


async def live(happens: list[Step], *, unharmed: bool = False) -> None:
    chaos = Chaos(unharmed)
    await chaos.begin()
    await chaos.world.until_quiet()
    chaos.untouched = {c.handle for c in chaos.world.running() if c.runner.key == UNTOUCHED.key}
    assert len(chaos.untouched) == UNTOUCHED.replicas
    for step in happens:
        await chaos.take(step)
    await chaos.get_well()
    chaos.judge()
    await chaos.lives.aclose()


@settings(max_examples=examples(200), derandomize=True)
@given(steps(*WORK, *HARM))
def test_nothing_is_lost_whatever_happens(happens: list[Step]) -> None:
    run_virtual(live(happens))


@settings(max_examples=examples(100), derandomize=True)
@given(steps(*WORK))
def test_nothing_is_taken_for_a_failure_while_nothing_fails(happens: list[Step]) -> None:
    run_virtual(live(happens, unharmed=True))
