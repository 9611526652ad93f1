"""One model sold by BYOC, by Live Runner and to direct callers at once: no slot is sold twice, and none is kept back.

Live Runner's side is a tiny registry of either program, ours the real table of slots and the real plan. BYOC's side
needs no node: go-livepeer is told `maxSessions` there, and sells as it likes.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from orchd.advertise.live_runner.free_record import FreeRecord
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import PendingSlot
from orchd.sessions.table import SessionTable
from tests.advertise.live_runner.node import TinyGoLivepeer, TinyLivepeerNode, TinyNode
from tests.advertise.live_runner.test_plan import Beside
from tests.soak import examples

KEY = ModelKey("text-to-image", "acme/xl")
WHOLE = RunnerRecord("text-to-image/acme", persistent=False, capacity=3, price=None)
RUNNERS = (RunnerId(KEY, 0, "0123456789ab"), RunnerId(KEY, 1, "0123456789ab"))
LIMIT = 2
TICK_S = 0.25


class Timed(Beside):
    """Attributes:
    told_at: when the node was called last.
    """

    told_at = float("-inf")

    def _call(self, name: str) -> None:
        self.told_at = self.node.now
        super()._call(name)


class Shop(RuleBasedStateMachine):
    """Invariant once all is quiet: what the node can still sell is what is free."""

    kind: type[TinyNode] = TinyGoLivepeer

    def __init__(self) -> None:
        super().__init__()
        self.node = self.kind()
        self.beside = Timed(self.node, {"a": None})
        self.free = FreeRecord()
        self.table = SessionTable(on_drained=lambda runner: None, on_wanted=lambda key: None)
        self.most = WHOLE.capacity
        self.table.define(KEY, self.most, 0)
        for runner in RUNNERS:
            self.table.open(runner, Address("127.0.0.1", 9000), LIMIT)
        self.open = {*RUNNERS}
        self.byoc: list[Session] = []
        self.live: list[tuple[str, Session]] = []
        self.letting_go: list[Session] = []
        self.pending: list[PendingSlot] = []

    def tick(self) -> None:
        capacity = self.table.free(KEY)
        assert capacity is not None
        capacity += self.table.node_jobs(KEY)
        whole = RunnerRecord("text-to-image/acme", persistent=False, capacity=self.most, price=None)
        self.beside.offers["a"] = self.free.look(whole, capacity, self.beside.told_at, self.node.now)
        self.beside.run(0.0)

    def sold(self) -> int:
        """How many sessions the node would still give out."""
        found = self.node.found("a")
        runner = self.node.runners.get("a")
        return runner.record.capacity - len(runner.sessions) if found and runner else 0

    def _begin(self, kind: SessionKind) -> Session | None:
        try:
            begun = self.table.begin(KEY, kind)
        except JobRefused:  # 503, and its runner knows nothing of it.
            return None
        assert isinstance(begun, Session)
        assert self.table.active(KEY) <= len(RUNNERS) * LIMIT
        return begun

    def _live_job(self) -> bool | None:
        """A client comes to the node. Return whether it was served; None = the node had nothing to sell."""
        name = self.node.reserve("a")
        if name is None:
            return None
        session = self._begin(SessionKind.NODE_JOB)
        if session is None:
            self.node.runners["a"].sessions.discard(name)
            return False
        self.live.append((name, session))
        return True

    def _over_at_node(self, name: str) -> None:
        if runner := self.node.runners.get("a"):
            runner.sessions.discard(name)

    @rule()
    def somebody_comes_by_byoc_or_directly(self) -> None:
        if session := self._begin(SessionKind.JOB):
            self.byoc.append(session)
        self.tick()

    @rule()
    def somebody_comes_by_live_runner(self) -> None:
        self._live_job()
        self.tick()

    @rule(data=st.data(), leaves=st.booleans())
    def a_job_ends(self, data: st.DataObject, leaves: bool) -> None:
        jobs = [*((None, session) for session in self.byoc), *self.live]
        if not jobs:
            return
        name, session = data.draw(st.sampled_from(jobs))
        if name is None:
            self.byoc.remove(session)
        else:
            self.live.remove((name, session))
            self._over_at_node(name)
        if leaves:
            self.letting_go.append(session)
            self.table.let_go(session, Outcome.CLIENT_GONE, lambda: None)
        else:
            self.table.end(session, Outcome.OK)
        self.tick()

    @rule()
    def a_runner_has_done_with_what_let_go(self) -> None:
        if self.letting_go:
            self.table.finish(self.letting_go.pop())
        self.tick()

    @rule()
    def a_slot_is_kept(self) -> None:
        try:
            self.pending.append(self.table.reserve(KEY))
        except JobRefused:
            return
        self.tick()

    @rule()
    def a_slot_is_kept_no_more(self) -> None:
        if self.pending:
            self.table.release(self.pending.pop())
        self.tick()

    @rule(most=st.integers(1, 4))
    def the_file_is_edited(self, most: int) -> None:
        self.most = most
        self.table.define(KEY, most, 0)
        self.tick()

    @rule(runner=st.sampled_from(RUNNERS))
    def a_replica_closes_or_opens(self, runner: RunnerId) -> None:
        if runner in self.open and len(self.open) == len(RUNNERS):
            self.open.discard(runner)
            self.table.close(runner, Code.NOT_READY, "it is not well")
        elif runner not in self.open:
            self.open.add(runner)
            self.table.open(runner, Address("127.0.0.1", 9000), LIMIT)
        self.tick()

    @rule(ticks=st.sampled_from([1, 3, 9]))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.beside.run(TICK_S)
            self.tick()

    @rule()
    def all_is_quiet(self) -> None:
        self.time_passes(9)
        assert self.sold() == self.table.free(KEY)
        before = self.beside.calls
        self.time_passes(9)
        assert self.beside.calls - before <= 2 + bool(self.live) * 3, (
            "nothing but heartbeats, or those of a model that is full"
        )
        while (served := self._live_job()) is not None:
            assert served, "what the node sells when all is quiet is served"
        self.tick()


class ShopBesideLivepeerNode(Shop):
    kind = TinyLivepeerNode


TestShopBesideGoLivepeer = Shop.TestCase
TestShopBesideGoLivepeer.settings = settings(max_examples=examples(80), stateful_step_count=25, deadline=None)
TestShopBesideLivepeerNode = ShopBesideLivepeerNode.TestCase
TestShopBesideLivepeerNode.settings = settings(max_examples=examples(80), stateful_step_count=25, deadline=None)
