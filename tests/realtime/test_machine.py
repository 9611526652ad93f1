"""Streams under any order of events: requests, the node's word in any order and age, containers, silence, restarts.

The real handler, keeper and table, between a node and containers that keep their own truth. A container carries one
stream, as PyTrickle does: a start on a busy one would replace it, a stop that overtakes a start would leave it running.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from typing import Any

import structlog
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import HealthSpec, InferenceSpec, Model, StreamSpec
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.domain.ports import ProbeWord
from orchd.errors import Code, JobRefused
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.routes import StreamCall
from orchd.realtime.starts import Containers
from orchd.realtime.stream import Stream, StreamEnd
from orchd.tasks import cancel, spawn
from tests.fakes.stored import FakeStreamStore
from tests.fakes.streams import held_for_node
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import request
from tests.jobs.model import a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.soak import examples
from tests.virtual_time import VirtualLoop, settle

KEY = ModelKey("live-video-to-video", "tint")
REPLICAS = 2
MODEL = a_model(
    KEY,
    stream=StreamSpec(post_starts_stream=True, route_prefix=""),
    health=HealthSpec(ready=("idle",), busy=("ok",)),
    inference=InferenceSpec("/live-video-to-video"),
    max_sessions=REPLICAS,
    persistent=True,
)
BYOC, LIVE = f"/byoc/{KEY.slug}", f"/live/{KEY.slug}/segment"
IDLE_S, UNUSED_S, SILENCE_S = 15.0, 30.0, 600.0
BYOC_NAMES, LIVE_NAMES = ("b0", "b1", "b2"), ("l0", "l1", "l2")
NAMES = st.sampled_from(BYOC_NAMES + LIVE_NAMES)
REPLICA = st.integers(0, REPLICAS - 1)


class Box:
    """One container. Attributes:
    busy: it carries a stream.
    pending: starts that it has taken, and works on until `gate` is set.
    """

    def __init__(self) -> None:
        self.busy = False
        self.pending = 0
        self.gate = asyncio.Event()
        self.gate.set()


class Boxes:
    """After `keeper.Containers`. Attributes:
    start: what comes of the next starts.
    wrong: what no container should ever see.
    """

    def __init__(self) -> None:
        self.boxes = [Box() for _ in range(REPLICAS)]
        self.start = "ok"
        self.wrong: list[str] = []
        self.working: set[asyncio.Task[None]] = set()

    async def call(
        self, model: Model, address: Address, call: StreamCall, *, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        box = self.boxes[address.port]
        match call:
            case StreamCall.START:
                return await self._start(box)
            case StreamCall.STOP:
                if box.pending:
                    self.wrong.append("a stop overtook a start")
                box.busy = False
        return Reply(200, (), b"{}")

    async def _start(self, box: Box) -> Reply:
        if box.busy or box.pending:
            self.wrong.append("a start replaced a stream")
        how = self.start
        if how == "refused":
            return Reply(503, (), b"still loading")
        if how == "lost":
            raise ContainerSilent("can't be asked to start: reset")
        box.pending += 1
        work = spawn(self._begin(box), name="a start in a container")
        self.working.add(work)
        await asyncio.shield(work)  # It goes on, whoever waits.
        if how == "unanswered":
            raise ContainerSilent("gave no answer to start")
        return Reply(200, (), b"{}")

    async def _begin(self, box: Box) -> None:
        await box.gate.wait()
        if box.pending:
            box.pending, box.busy = 0, True


class Hook(FakeHook):
    """Refuses or hangs as told; every session is settled once, when nothing else runs for it."""

    admits = "yes"

    def admit(self, job: Job) -> Waits:
        self.waits = {"admit", "settle"} if self.admits != "yes" else set()
        self.fails = {"admit": JobRefused(Code.FORBIDDEN, "cannot serve you")} if self.admits == "no" else {}
        return super().admit(job)


class StreamMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
        self.loop = VirtualLoop()
        self.loop.now = 1000.0
        asyncio.set_event_loop(self.loop)
        self.store = FakeStreamStore()
        self.node: set[str] = set()  # Sessions that the node has reserved.
        self.listings: list[tuple[float, frozenset[str]]] = []
        self.words: list[tuple[int, float, ProbeWord]] = []
        self.callers: list[FakeTransport] = []
        self.do(self.live())
        self.do(self.open_all())

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        async def and_settle() -> None:
            await work
            await settle()

        self.loop.run_until_complete(and_settle())

    # One life of orchd.

    async def live(self) -> None:
        self.hook = Hook()
        streams = {"idle_s": IDLE_S, "unused_s": UNUSED_S, "silence_s": SILENCE_S}
        bench = Bench(models=(MODEL,), hooks=[self.hook], is_open=False, store=self.store, streams=streams)
        if not hasattr(self, "boxes"):
            self.boxes = Boxes()
        self.ends: Counter[Stream] = Counter()

        def ended(end: StreamEnd) -> None:
            self.ends[end.stream] += 1

        self.bench, self.keeper = bench, (keeper := bench.keeper)
        keeper.ended.connect(ended)
        containers: Containers = self.boxes
        keeper.containers = containers
        keeper.over_at_node.connect(lambda key, session: self.node.discard(session))
        bench.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
        self.sweep = spawn(keeper.run(), name="sweep")
        await keeper.restore()

    def address(self, replica: int) -> Address:
        return Address("127.0.0.1", replica)

    def open(self, replica: int) -> None:
        """As health does it: a word, and then it is open. One that works on a start says that it loads."""
        if self.boxes.boxes[replica].pending:
            return
        self.keeper.probed(runner_of(KEY, replica), MODEL, self.word(replica), self.loop.now)
        self.bench.table.open(runner_of(KEY, replica), self.address(replica), 1)

    async def open_all(self) -> None:
        for replica in range(REPLICAS):
            self.open(replica)

    def word(self, replica: int) -> ProbeWord:
        return ProbeWord.BUSY if self.boxes.boxes[replica].busy else ProbeWord.READY

    @rule(lost=st.booleans())
    def restart(self, lost: bool) -> None:
        async def again() -> None:
            for caller in self.callers:
                caller.lose()
            await settle()
            self.bench.handler.abort_all("orchd stops")
            await settle()
            await cancel(self.sweep)
            await self.keeper.close()
            await self.bench.handler.close()
            self.bench.letting_go.close()
            await settle()
            self.callers.clear()
            self.listings.clear()
            self.words.clear()
            if lost and not any(box.pending for box in self.boxes.boxes):
                self.store.kept.clear()
            await self.live()
            await self.open_all()

        self.do(again())

    # Callers.

    def ask(self, call: str, name: str, target: str = "") -> None:
        live = name in LIVE_NAMES
        header = ("Livepeer-Session-Id" if live else "X-Stream-Id", name)
        data = request(header, target=f"{LIVE if live else BYOC}/{target or f'stream/{call}'}", body=b"{}")

        async def say() -> None:
            self.callers.append(self.bench.caller(data))
            await self.bench.settle()

        self.do(say())
        self.callers[:] = [caller for caller in self.callers if not caller.messages]

    @rule(name=NAMES)
    def start(self, name: str) -> None:
        self.ask("start", name)

    @rule(name=NAMES, times=st.integers(1, 3))
    def stop(self, name: str, times: int) -> None:
        for _ in range(times):
            self.ask("stop", name)

    @rule(name=NAMES)
    def update(self, name: str) -> None:
        self.ask("params", name)

    @rule(name=st.sampled_from(LIVE_NAMES))
    def ride(self, name: str) -> None:
        self.ask("", name, "v1/x")

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def caller_leaves(self, data: st.DataObject) -> None:
        caller = data.draw(st.sampled_from(self.callers))
        self.callers.remove(caller)

        async def leave() -> None:
            caller.lose()

        self.do(leave())

    @rule(admits=st.sampled_from(["yes", "no", "slowly"]))
    def hooks_become(self, admits: str) -> None:
        self.hook.admits = admits

    # The node.

    @rule(name=st.sampled_from(LIVE_NAMES), heard=st.booleans())
    def node_reserves(self, name: str, heard: bool) -> None:
        self.node.add(name)
        if heard:
            self.do(self.told(lambda: self.keeper.reserved(KEY, name)))

    @rule(name=st.sampled_from(LIVE_NAMES), heard=st.booleans())
    def node_releases(self, name: str, heard: bool) -> None:
        if name in self.node:
            self.node.discard(name)
            if heard:
                self.do(self.told(lambda: self.keeper.released(KEY, name)))

    async def told(self, call: Any) -> None:
        call()

    @rule()
    def listing_is_made(self) -> None:
        self.listings.append((self.loop.now, frozenset(self.node)))

    @precondition(lambda self: self.listings)
    @rule(data=st.data())
    def listing_arrives(self, data: st.DataObject) -> None:
        listing = data.draw(st.sampled_from(self.listings))
        self.listings.remove(listing)
        self.listed(*listing)

    def listed(self, asked_at: float, sessions: frozenset[str]) -> None:
        younger = [s for s in self.keeper.streams if s.began_at >= asked_at and s.phase is not StreamPhase.ENDING]

        async def hear() -> None:
            self.keeper.listed(KEY, sessions, asked_at)
            assert all(stream.live for stream in younger), "an old listing ended a session"

        self.do(hear())

    # Containers.

    @rule(how=st.sampled_from(["ok", "ok", "refused", "lost", "unanswered"]))
    def starts_become(self, how: str) -> None:
        self.boxes.start = how

    @rule(replica=REPLICA)
    def container_becomes_slow(self, replica: int) -> None:
        self.boxes.boxes[replica].gate.clear()

    @rule(replica=REPLICA)
    def container_catches_up(self, replica: int) -> None:
        async def go_on() -> None:
            self.boxes.boxes[replica].gate.set()
            await settle()
            self.open(replica)

        self.do(go_on())

    @rule(replica=REPLICA)
    def container_ends_its_stream(self, replica: int) -> None:
        self.boxes.boxes[replica].busy = False

    @rule(replica=REPLICA, back=st.booleans())
    def container_dies(self, replica: int, back: bool) -> None:
        async def die() -> None:
            runner: RunnerId = runner_of(KEY, replica)
            box = self.boxes.boxes[replica]
            self.bench.table.close(runner, Code.NOT_READY, "it died")
            self.bench.table.abort(runner, "it died")
            self.bench.table.gone(runner)
            box.busy, box.pending = False, 0
            box.gate.set()
            self.words[:] = [word for word in self.words if word[0] != replica]
            if all(not each.has_room for each in self.bench.table._models[KEY].replicas.values()) and not back:
                self.bench.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
            await settle()
            if back:
                self.open(replica)

        self.do(die())

    @rule(replica=REPLICA)
    def container_is_opened(self, replica: int) -> None:
        async def come() -> None:
            self.open(replica)

        self.do(come())

    @rule(replica=REPLICA)
    def probe_begins(self, replica: int) -> None:
        self.words = [word for word in self.words if word[0] != replica]
        self.words.append((replica, self.loop.now, self.word(replica)))

    @precondition(lambda self: self.words)
    @rule()
    def probe_ends(self) -> None:
        replica, asked_at, word = self.words.pop(0)
        self.do(self.told(lambda: self.keeper.probed(runner_of(KEY, replica), MODEL, word, asked_at)))

    @rule(seconds=st.sampled_from([0.5, 5.0, 20.0, SILENCE_S + 5]))
    def time_passes(self, seconds: float) -> None:
        self.do(asyncio.sleep(seconds))

    # What is always so.

    @invariant()
    def slots_are_exact(self) -> None:
        streams = list(self.keeper.streams)
        assert self.bench.table.active(KEY) <= MODEL.max_sessions
        held = {stream.session.id for stream in streams} | {
            run.session.id for run in self.bench.handler._running if run.session is not None
        }
        assert self.bench.table.running(KEY) == len(held)
        on = Counter(stream.session.runner for stream in streams)
        assert max(on.values(), default=0) <= 1
        assert all(stream.session.outcome is None for stream in streams)

    @invariant()
    def ends_are_told_once(self) -> None:
        assert set(self.ends.values()) <= {1}
        settled = [session.id for session, _ in self.hook.settled]
        assert len(set(settled)) == len(settled)
        assert not self.hook.wrong
        assert not self.boxes.wrong

    def teardown(self) -> None:
        try:
            self.check_that_it_comes_to_rest()
        finally:
            self.loop.run_until_complete(self.let_go())
            self.loop.close()
            asyncio.set_event_loop(None)
            structlog.reset_defaults()

    def check_that_it_comes_to_rest(self) -> None:
        async def calm() -> None:
            self.hook.admits = self.boxes.start = "yes"
            for box in self.boxes.boxes:
                box.gate.set()
            await settle()
            await self.open_all()

        self.do(calm())
        for _ in range(8):
            self.do(asyncio.sleep(IDLE_S / 2))
            self.listed(self.loop.now, frozenset(self.node))
            for replica in range(REPLICAS):
                self.do(
                    self.told(
                        lambda r=replica: self.keeper.probed(runner_of(KEY, r), MODEL, self.word(r), self.loop.now)
                    )
                )
            self.slots_are_exact()
            self.ends_are_told_once()
        assert self.bench.table.waiting(KEY) == 0
        assert held_for_node(self.keeper, KEY) == self.node, "the node and orchd agree"
        carrying = {stream.session.runner.replica for stream in self.keeper.streams if stream.asked}
        busy = {replica for replica, box in enumerate(self.boxes.boxes) if box.busy}
        assert busy == carrying, "containers and orchd agree"

        async def end_all() -> None:
            for stream in self.keeper.streams:
                await self.keeper.end(stream, Outcome.OK, "the test ends")
            await self.bench.idle()
            await asyncio.sleep(MODEL.inference.timeout_s + 1)  # A ride that was cut lets its slot go by then.

        self.do(end_all())
        self.do(self.bench.idle())
        assert not self.node
        assert self.bench.table.active(KEY) == 0
        assert not self.store.kept
        assert not any(box.busy for box in self.boxes.boxes)
        assert len(self.hook.settled) == self.bench.table.begun(KEY)
        for origin in Origin:
            assert self.keeper.streams.count(KEY, origin) == 0

    async def let_go(self) -> None:
        await cancel(self.sweep, *self.boxes.working)
        await self.keeper.close()
        await self.bench.handler.close()
        for caller in self.bench.callers:
            caller.abort()
        await settle()


TestStreams = StreamMachine.TestCase
TestStreams.settings = settings(max_examples=examples(240), stateful_step_count=30, deadline=None)
