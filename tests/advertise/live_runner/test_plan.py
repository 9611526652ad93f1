"""The life of one model in Live Runner's dynamic registry: the table, the timing, and both against a tiny registry."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchd.advertise.live_runner.dialects import spoken_by
from orchd.advertise.live_runner.dialects.dialect import unregistered
from orchd.advertise.live_runner.plan import (
    DRAIN_S,
    Listing,
    Pace,
    RunnerRecord,
    after,
    held,
    next_beat,
    told,
    tried,
    update,
)
from orchd.advertise.live_runner.prices import LivePrice
from orchd.advertise.live_runner.states import BEATING, TRANSITIONS, ListingEvent, ListingState, next_state
from orchd.domain.lifecycle import IllegalMove
from orchd.domain.money import PriceUnit
from orchd.domain.offer import NodeStatus
from tests.advertise.live_runner.node import (
    BOOTSTRAP,
    SWEEP_S,
    TINY_NODES,
    Said,
    TinyGoLivepeer,
    TinyLivepeerNode,
    TinyNode,
)
from tests.soak import examples

S, E = ListingState, ListingEvent
PRICE = LivePrice("1.2", PriceUnit.HOUR)
ONE = RunnerRecord("text-to-image/acme", persistent=True, capacity=1, price=PRICE)
TWO = replace(ONE, capacity=2)
SHOT = replace(TWO, persistent=False)
PACE = Pace(5.0, 20.0)


@pytest.mark.parametrize(("state", "event"), [(s, e) for s in ListingState for e in ListingEvent], ids=str)
def test_every_pair_is_a_legal_move_or_refused(state: ListingState, event: ListingEvent) -> None:
    if event in TRANSITIONS[state]:
        assert next_state(state, event) is TRANSITIONS[state][event]
    else:
        with pytest.raises(IllegalMove, match=f"{event} in state {state}"):
            next_state(state, event)


def _reach(start: ListingState, events: frozenset[ListingEvent] = frozenset(ListingEvent)) -> set[ListingState]:
    seen: set[ListingState] = set()
    todo = [start]
    while todo:
        state = todo.pop()
        if state not in seen:
            seen.add(state)
            todo += [to for event, to in TRANSITIONS[state].items() if event in events]
    return seen


def test_every_state_has_a_row_and_is_reached() -> None:
    assert set(TRANSITIONS) == set(ListingState) == _reach(S.ABSENT)


@pytest.mark.parametrize("state", ListingState)
def test_in_every_state_a_model_may_be_offered_or_withdrawn(state: ListingState) -> None:
    assert S.ABSENT in _reach(state, frozenset(ListingEvent) - {E.OFFER})
    assert S.LISTED in _reach(state, frozenset(ListingEvent) - {E.WITHDRAW})


@pytest.mark.parametrize("state", ListingState)
def test_every_answer_that_can_come_has_a_move(state: ListingState) -> None:
    heartbeat = {E.TAKEN, E.IDLE, E.EXPIRED, E.OTHER_SECRET, E.REFUSED, E.SILENCE}
    match state:
        case S.ABSENT:
            possible = set()
        case S.LEAVING:
            possible = {E.GONE, E.SILENCE}
        case S.LISTED | S.DRAINING:
            possible = heartbeat | {E.UNKNOWN}
        case _:
            possible = heartbeat
    assert set(TRANSITIONS[state]) == possible | {E.OFFER, E.WITHDRAW}


@pytest.mark.parametrize("state", sorted(BEATING - {S.LEAVING}))
def test_what_is_listed_is_never_dropped_without_its_last_answer_or_a_call(state: ListingState) -> None:
    assert next_state(state, E.WITHDRAW) is S.DRAINING


def _listed(record: RunnerRecord = TWO, now: float = 100.0, sessions: frozenset[str] = frozenset()) -> Listing:
    """A listing that the node has just taken."""
    listing = tried(update(Listing(), record, 1.0, now))
    return after(listing, E.TAKEN if sessions else E.IDLE, now, 0.5, sessions)


def test_an_offer_is_due_at_once_and_then_every_interval() -> None:
    listing = update(Listing(), TWO, 1.0, 100.0)
    assert (listing.state, listing.due, listing.record) == (S.REGISTERING, 100.0, TWO)
    listing = _listed()
    assert listing.published
    assert 100.0 < listing.due <= 105.0
    assert update(listing, TWO, 1.0, 101.0) == listing, "nothing has changed, so nothing is due"


@pytest.mark.parametrize("change", [replace(TWO, capacity=3), replace(TWO, price=None), replace(TWO, app="other")])
def test_a_change_of_the_offer_is_due_at_once(change: RunnerRecord) -> None:
    assert update(_listed(), change, 1.0, 101.0).due == 101.0


def test_a_node_that_came_up_is_asked_at_once_with_the_secret_that_we_have() -> None:
    listing = update(_listed(), TWO, 2.0, 101.0)
    assert (listing.state, listing.due) == (S.LISTED, 101.0)


def test_an_unoffered_model_asks_for_its_sessions_and_leaves_when_it_has_none() -> None:
    listing = update(_listed(), None, 1.0, 101.0)
    assert (listing.state, listing.due, listing.record) == (S.DRAINING, 101.0, ONE)
    listing = after(tried(listing), E.IDLE, 101.1, 0.5)
    assert (listing.state, listing.due, listing.record) == (S.LEAVING, 101.1, None)
    assert after(tried(listing), E.GONE, 101.2, 0.5) == replace(
        listing, state=S.ABSENT, due=inf, tried=None, taken_at=None, sessions=frozenset()
    )


def test_a_model_with_sessions_stays_listed_without_a_free_slot_until_the_last_is_over() -> None:
    sessions = frozenset({"a", "b"})
    listing = update(_listed(replace(TWO, capacity=5), sessions=sessions), None, 1.0, 101.0)
    listing = after(tried(listing), E.TAKEN, 101.0, 0.5, sessions)
    assert listing.state is S.DRAINING
    assert listing.record == ONE, "so that no slot is free when one of the two ends"
    assert listing.due <= 101.0 + DRAIN_S
    listing = update(told(listing, frozenset({"b"}), 102.0), None, 1.0, 102.0)
    assert (listing.due, listing.record) == (102.0, ONE)
    listing = told(after(tried(listing), E.TAKEN, 102.0, 0.5, frozenset({"b"})), frozenset(), 103.0)
    assert listing.due == 103.0, "the node is asked at once whether that was the last"


def test_a_model_that_is_offered_again_while_it_leaves_goes_on_under_its_secret() -> None:
    leaving = after(tried(update(_listed(), None, 1.0, 101.0)), E.IDLE, 101.0, 0.5)
    listing = update(leaving, TWO, 1.0, 102.0)
    assert (listing.state, listing.due, listing.record) == (S.LISTED, 102.0, TWO)


def test_a_model_that_is_offered_again_while_it_drains_has_its_capacity_back_at_once() -> None:
    sessions = frozenset({"a"})
    listing = after(tried(update(_listed(sessions=sessions), None, 1.0, 101.0)), E.TAKEN, 101.0, 0.5, sessions)
    listing = update(listing, TWO, 1.0, 102.0)
    assert (listing.state, listing.due, listing.record) == (S.LISTED, 102.0, TWO)


@pytest.mark.parametrize("event", [E.UNKNOWN, E.EXPIRED, E.OTHER_SECRET])
def test_a_draining_model_that_the_node_no_longer_has_is_gone(event: ListingEvent) -> None:
    listing = after(tried(update(_listed(), None, 1.0, 101.0)), event, 101.0, 0.5)
    assert (listing.state, listing.due, listing.published) == (S.ABSENT, inf, False)


def test_a_drain_that_is_refused_becomes_a_plain_leave() -> None:
    listing = after(tried(update(_listed(), None, 1.0, 101.0)), E.REFUSED, 101.0, 0.5)
    assert (listing.state, listing.due) == (S.LEAVING, 101.0)


def test_a_listed_model_that_was_forgotten_is_registered_at_once() -> None:
    listing = after(tried(_listed()), E.UNKNOWN, 101.0, 0.5)
    assert (listing.state, listing.due, listing.published) == (S.REGISTERING, 101.0, False)


def test_what_an_earlier_orchd_registered_is_beaten_for_first() -> None:
    listing = update(held(TWO, PACE), TWO, 1.0, 0.0)
    assert listing.state is S.LISTED
    assert listing.due <= 0.0
    assert not listing.published, "nobody has heard yet whether the node still has it"
    assert update(held(TWO, PACE), None, 1.0, 0.0).state is S.DRAINING, "it is not offered yet, and may have sessions"


def test_while_the_node_is_silent_it_is_asked_ever_more_seldom_but_not_before_its_ttl_is_over() -> None:
    listing, now, pauses = _listed(now=100.0), 100.0, []
    for _ in range(10):
        listing = after(tried(listing), E.SILENCE, now, 0.5)
        pauses.append(listing.due - now)
        now = listing.due
    assert pauses[:4] == [1.0, 2.0, 4.0, 5.0]
    assert pauses[-1] == 30.0
    assert all(pause <= 5.0 for pause in pauses[:6])
    assert listing.published, "silence says nothing"
    assert update(listing, ONE, 1.0, now).due == now, "but a change is tried at once"
    assert update(listing, TWO, 2.0, now).due == now, "and so is a node that came up"


def test_pauses_fit_the_refusal() -> None:
    listing = tried(update(Listing(), TWO, 1.0, 100.0))
    assert after(listing, E.EXPIRED, 100.0, 0.5).due == 101.0
    assert after(listing, E.OTHER_SECRET, 100.0, 0.5).due == 105.0
    assert after(listing, E.REFUSED, 100.0, 0.5).due == 130.0
    assert update(after(listing, E.REFUSED, 100.0, 0.5), TWO, 1.0, 101.0).due == 130.0
    assert update(after(listing, E.REFUSED, 100.0, 0.5), replace(TWO, price=None), 1.0, 101.0).due == 101.0
    for event in (E.REFUSED, E.EXPIRED, E.OTHER_SECRET, E.SILENCE):
        refused = after(listing, event, 100.0, 0.5)
        fuller = update(refused, ONE, 1.0, 100.5)
        assert (fuller.due, fuller.record) == (refused.due, ONE), "what is free is no reason to ask again"
    assert after(tried(_listed()), E.UNKNOWN, 100.0, 0.5).due == 100.0


@given(st.floats(0, 1e9), st.sampled_from([0.5, 1.0, 5.0, 7.3]), st.floats(0, 1, exclude_max=True))
def test_the_next_beat_is_never_now_and_never_later_than_an_interval(now: float, interval: float, phase: float) -> None:
    assert now < next_beat(now, interval, phase) <= now + interval * (1 + 1e-6)


def test_a_hundred_models_that_registered_at_once_are_spread_over_the_interval() -> None:
    beats = sorted(next_beat(1000.0, 5.0, phase / 100) - 1000.0 for phase in range(100))
    assert all(0.0 < beat <= 5.0 for beat in beats)
    gaps = [b - a for a, b in pairwise(beats)]
    assert max(gaps) < 0.1


def test_a_single_shot_model_that_leaves_hides_by_its_status_where_that_is_possible() -> None:
    listing = update(_listed(SHOT), None, 1.0, 101.0, hides=True)
    assert listing.record == replace(SHOT, ready=False)
    assert update(listing, None, 1.0, 101.0, hides=False).record == replace(SHOT, capacity=1)
    assert update(_listed(TWO), None, 1.0, 101.0, hides=True).record == ONE, "its sessions would be locked out"


def test_a_record_whose_secret_is_lost_is_held_for_a_ttl_and_an_interval() -> None:
    listing = tried(update(Listing(), TWO, 1.0, 100.0))
    assert listing.held_until is None
    for now in (100.0, 105.0, 130.0):
        listing = tried(after(listing, E.OTHER_SECRET, now, 0.5, pace=Pace(5.0, 30.0)))
        assert listing.held_until == 135.0, "counted from when it was seen first"
    listing = after(listing, E.SILENCE, 131.0, 0.5)
    assert listing.held_until == 135.0, "silence says nothing"
    assert update(listing, TWO, 2.0, 132.0).held_until is None, "another start of the node has no such record"
    assert after(tried(listing), E.IDLE, 135.0, 0.5).held_until is None


class Beside:
    """One orchd with models beside a tiny node. Time passes only in `run`, which makes each call when it is due."""

    def __init__(self, node: TinyNode, offers: dict[str, RunnerRecord | None]) -> None:
        self.node = node
        self.dialect = spoken_by(NodeStatus(program=node.program))
        self.up_since = 1.0
        self.calls = 0
        self.lost = 0
        """Calls from now on whose answer does not arrive, the node's doings or not."""
        self.reaches = True
        self.offers = offers
        self.entries = {name: Listing() for name in offers}
        self.secrets: dict[str, str] = {}

    def _due(self) -> list[str]:
        hides = self.dialect.hides_by_status
        for name, listing in self.entries.items():
            self.entries[name] = update(listing, self.offers[name], self.up_since, self.node.now, hides=hides)
        return [name for name, listing in self.entries.items() if listing.due <= self.node.now]

    def _call(self, name: str) -> None:
        self.calls += 1
        listing = self.entries[name]
        beating, record = listing.state in BEATING, listing.record
        secret = self.secrets[name] if beating else BOOTSTRAP
        listing = self.entries[name] = tried(listing)
        said = None
        if not self.lost or self.reaches:
            said = self.node.unregister(name, secret) if record is None else self.node.heartbeat(name, record, secret)
        if self.lost:
            self.lost -= 1
            said = None
        self.entries[name] = after(listing, *self._heard(name, said, record, beating=beating))
        if self.entries[name].state is S.ABSENT:
            self.secrets.pop(name, None)

    def _heard(
        self, name: str, said: Said | None, record: RunnerRecord | None, *, beating: bool
    ) -> tuple[ListingEvent, float, float, frozenset[str], Pace]:
        event: ListingEvent | None = E.SILENCE
        if said is not None and record is None:
            event = unregistered(said.status)
        elif said is not None and said.status == 200:
            event = E.TAKEN if said.sessions else E.IDLE
            if said.secret:
                self.secrets[name] = said.secret
        elif said is not None:
            event = self.dialect.heard(said.status, said.text, beating=beating)
            if event is None:
                event = self.dialect.probed(self.node.probe(BOOTSTRAP).status)
        sessions = said.sessions if said else frozenset()
        return event or E.SILENCE, self.node.now, 0.3, sessions, Pace(5.0, self.node.ttl_s)

    def run(self, seconds: float) -> None:
        end = self.node.now + seconds
        while True:
            for _ in range(100):
                if not (due := self._due()):
                    break
                for name in due:
                    self._call(name)
            else:
                raise AssertionError("calls without a pause")
            now = self.node.now
            sweep = (now // SWEEP_S + 1) * SWEEP_S
            step = min(end, sweep, *(listing.due for listing in self.entries.values()))
            if now >= end:
                return
            self.node.advance(step - now)


@pytest.mark.parametrize("kind", TINY_NODES)
@given(
    capacity=st.integers(1, 4),
    persistent=st.booleans(),
    before_s=st.floats(0, 6),
    ends=st.lists(st.tuples(st.integers(0, 3), st.floats(0, 9)), min_size=1, max_size=6),
)
def test_a_model_that_leaves_is_never_found_again_however_its_jobs_end(
    kind: type[TinyNode], capacity: int, persistent: bool, before_s: float, ends: list[tuple[int, float]]
) -> None:
    node = kind()
    beside = Beside(node, {"a": replace(ONE, capacity=capacity, persistent=persistent)})
    beside.run(before_s)
    jobs = [job for _ in range(min(capacity, len(ends))) if (job := node.reserve("a"))]
    beside.run(0.1)
    beside.offers["a"] = None
    beside.run(0.0)
    for which, pause_s in ends:
        # What has ended is heard at once: by the event channel, or since the job ran in a slot of ours.
        if jobs:
            job = jobs.pop(which % len(jobs))
            node.runners["a"].sessions.discard(job)
            if not jobs:
                beside.entries["a"] = told(beside.entries["a"], frozenset(), node.now)
                beside.run(0.0)
        for _ in range(20):
            assert not node.found("a")
            assert not jobs or set(jobs) == node.runners["a"].sessions, "what runs goes on"
            beside.run(pause_s / 20)
    assert ("a" in node.runners) == bool(jobs), "it is unregistered at once when the last one has ended"


class Life(RuleBasedStateMachine):
    """Two models beside a node. A call may be lost on its way there or back.

    Invariant once all is quiet: the node has what is offered.
    """

    kind: type[TinyNode] = TinyGoLivepeer

    def __init__(self) -> None:
        super().__init__()
        self.node = self.kind()
        self.beside = Beside(self.node, {"a": TWO, "b": None})

    @rule(name=st.sampled_from("ab"), record=st.sampled_from([None, ONE, TWO, SHOT]))
    def edits(self, name: str, record: RunnerRecord | None) -> None:
        self.beside.offers[name] = record

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 7.0, 21.0, 26.0, 36.0]))
    def passes(self, seconds: float) -> None:
        self.beside.run(seconds)

    @rule(seen=st.booleans())
    def node_restarts(self, seen: bool) -> None:
        self.node.restart()
        if seen:
            self.beside.up_since += 1

    @rule(seconds=st.sampled_from([3.0, 19.0, 22.0, 24.0, 33.0, 60.0]))
    def orchd_stands_still(self, seconds: float) -> None:
        while seconds > 0:
            self.node.advance(min(seconds, 1.0))
            seconds -= 1.0

    @rule(secrets=st.booleans())
    def orchd_restarts(self, secrets: bool) -> None:
        """With its store, or without."""
        beside = self.beside
        kept = (
            {name: listing.wanted for name, listing in beside.entries.items() if name in beside.secrets}
            if secrets
            else {}
        )
        if not secrets:
            beside.secrets.clear()
        beside.entries = {
            name: held(record, PACE) if (record := kept.get(name)) else Listing() for name in beside.offers
        }

    @rule(count=st.integers(1, 4), reaches=st.booleans())
    def calls_are_lost(self, count: int, reaches: bool) -> None:
        self.beside.lost, self.beside.reaches = count, reaches

    @rule(refuses=st.booleans())
    def node_refuses(self, refuses: bool) -> None:
        self.node.refuses = refuses

    @rule(name=st.sampled_from("ab"))
    def gateway_reserves(self, name: str) -> None:
        self.node.reserve(name)

    @precondition(lambda self: any(runner.sessions for runner in self.node.runners.values()))
    @rule()
    def sessions_end(self) -> None:
        for runner in self.node.runners.values():
            runner.sessions.clear()

    @rule()
    def all_is_quiet(self) -> None:
        """Nothing happens for so long that every expiry and every pause is over."""
        self.node.refuses, self.beside.lost = False, 0
        for runner in self.node.runners.values():
            runner.sessions.clear()
        self.beside.run(95.0)
        assert self.node.records() == {name: record for name, record in self.beside.offers.items() if record}
        published = {name for name, listing in self.beside.entries.items() if listing.published}
        assert published == set(self.node.listed()) == set(self.node.records())
        before = self.beside.calls
        self.beside.run(50.0)
        assert self.beside.calls - before <= 11 * len(self.node.listed()), "quiet: nothing but heartbeats"

    @rule(name=st.just("a"))
    def drain(self, name: str) -> None:
        """With sessions open, a model that is no longer offered stays, and is not found."""
        self.all_is_quiet()
        record = self.beside.offers[name]
        if record and self.node.reserve(name):
            self.beside.run(5.0)
            self.beside.offers[name] = None
            self.beside.run(60.0)
            assert not self.node.found(name)
            self.beside.offers[name] = record
            self.beside.run(1.0)
            assert self.node.records()[name] == record
            assert self.node.runners[name].sessions

    @invariant()
    def a_model_that_leaves_has_no_free_slot(self) -> None:
        for name, listing in self.beside.entries.items():
            if self.beside.offers[name] is None and listing.record is not None and listing.state is S.DRAINING:
                assert listing.record.capacity == 1 or not listing.record.ready


class LifeBesideLivepeerNode(Life):
    kind = TinyLivepeerNode


TestLifeBesideGoLivepeer = Life.TestCase
TestLifeBesideGoLivepeer.settings = settings(max_examples=examples(120), stateful_step_count=30)
TestLifeBesideLivepeerNode = LifeBesideLivepeerNode.TestCase
TestLifeBesideLivepeerNode.settings = settings(max_examples=examples(120), stateful_step_count=30)
