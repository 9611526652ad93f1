"""The life of one model in Live Runner's dynamic registry: the table, the timing, and both against a tiny registry."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import inf

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orchd.advertise.live_runner.plan import (
    Listing,
    Pace,
    RunnerRecord,
    after,
    heard,
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
from tests.advertise.live_runner.node import BOOTSTRAP, SWEEP_S, TTL_S, Said, TinyNode
from tests.soak import examples

S, E = ListingState, ListingEvent
PRICE = LivePrice("1.2", PriceUnit.HOUR)
ONE = RunnerRecord("text-to-image/acme", persistent=True, capacity=1, price=PRICE)
TWO = replace(ONE, capacity=2)


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


def test_a_refusal_is_read_by_its_status_words_and_the_secret_that_was_sent() -> None:
    assert heard(401, "invalid registration authorization", beating=True) is E.UNKNOWN
    assert heard(401, "invalid registration authorization", beating=False) is E.REFUSED
    assert heard(401, "invalid heartbeat authorization", beating=True) is E.OTHER_SECRET
    assert heard(401, "invalid heartbeat authorization", beating=False) is E.OTHER_SECRET
    assert heard(404, "runner not found", beating=False) is E.EXPIRED
    assert heard(404, "dynamic live runner registration is disabled", beating=False) is E.REFUSED
    assert heard(404, "live runners are not supported", beating=True) is E.REFUSED
    assert heard(400, "invalid runner_url", beating=True) is E.REFUSED
    assert heard(500, "fault", beating=True) is E.SILENCE


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
    assert listing.record == TWO
    listing = after(tried(listing), E.TAKEN, 101.0, 0.5, sessions)
    assert listing.state is S.DRAINING
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
    listing = update(held(TWO), TWO, 1.0, 0.0)
    assert listing.state is S.LISTED
    assert listing.due <= 0.0
    assert not listing.published, "nobody has heard yet whether the node still has it"
    assert update(held(TWO), None, 1.0, 0.0).state is S.DRAINING, "it is not offered yet, and may have sessions"


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
    assert update(after(listing, E.REFUSED, 100.0, 0.5), ONE, 1.0, 101.0).due == 101.0
    assert after(tried(_listed()), E.UNKNOWN, 100.0, 0.5).due == 100.0


@given(st.floats(0, 1e9), st.sampled_from([0.5, 1.0, 5.0, 7.3]), st.floats(0, 1, exclude_max=True))
def test_the_next_beat_is_never_now_and_never_later_than_an_interval(now: float, interval: float, phase: float) -> None:
    assert now < next_beat(now, interval, phase) <= now + interval * (1 + 1e-6)


def test_a_hundred_models_that_registered_at_once_are_spread_over_the_interval() -> None:
    beats = sorted(next_beat(1000.0, 5.0, phase / 100) - 1000.0 for phase in range(100))
    assert all(0.0 < beat <= 5.0 for beat in beats)
    gaps = [b - a for a, b in pairwise(beats)]
    assert max(gaps) < 0.1


class Life(RuleBasedStateMachine):
    """One orchd with two models beside a node; time passes only in `passes`, and calls are made when they are due.

    A call may be lost on its way there or back. Invariant once all is quiet: the node lists what is offered.
    """

    def __init__(self) -> None:
        super().__init__()
        self.node = TinyNode()
        self.up_since = 1.0
        self.calls = 0
        self.lost = 0
        """Calls from now on whose answer does not arrive, the node's doings or not."""
        self.reaches = True
        self.offers: dict[str, RunnerRecord | None] = {"a": TWO, "b": None}
        self.entries = {name: Listing() for name in self.offers}
        self.secrets: dict[str, str] = {}

    def _due(self) -> list[str]:
        for name, listing in self.entries.items():
            self.entries[name] = update(listing, self.offers[name], self.up_since, self.node.now)
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
        event = E.SILENCE
        if said is not None and record is None:
            event = E.GONE
        elif said is not None and said.status == 200:
            event = E.TAKEN if said.sessions else E.IDLE
            if said.secret:
                self.secrets[name] = said.secret
        elif said is not None:
            event = heard(said.status, said.text, beating=beating)
        return event, self.node.now, 0.3, said.sessions if said else frozenset(), Pace(5.0, TTL_S)

    def _run(self, seconds: float) -> None:
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

    @rule(name=st.sampled_from("ab"), record=st.sampled_from([None, ONE, TWO]))
    def edits(self, name: str, record: RunnerRecord | None) -> None:
        self.offers[name] = record

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 7.0, 21.0, 26.0]))
    def passes(self, seconds: float) -> None:
        self._run(seconds)

    @rule(seen=st.booleans())
    def node_restarts(self, seen: bool) -> None:
        self.node.restart()
        if seen:
            self.up_since += 1

    @rule(seconds=st.sampled_from([3.0, 19.0, 22.0, 24.0, 60.0]))
    def orchd_stands_still(self, seconds: float) -> None:
        while seconds > 0:
            self.node.advance(min(seconds, 1.0))
            seconds -= 1.0

    @rule(secrets=st.booleans())
    def orchd_restarts(self, secrets: bool) -> None:
        """With its store, or without."""
        kept = (
            {name: listing.wanted for name, listing in self.entries.items() if name in self.secrets} if secrets else {}
        )
        if not secrets:
            self.secrets.clear()
        self.entries = {name: held(record) if (record := kept.get(name)) else Listing() for name in self.offers}

    @rule(count=st.integers(1, 4), reaches=st.booleans())
    def calls_are_lost(self, count: int, reaches: bool) -> None:
        self.lost, self.reaches = count, reaches

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
        self.node.refuses, self.lost = False, 0
        for runner in self.node.runners.values():
            runner.sessions.clear()
        self._run(95.0)
        assert self.node.listed() == {name: record for name, record in self.offers.items() if record}
        assert {name for name, listing in self.entries.items() if listing.published} == set(self.node.listed())
        before = self.calls
        self._run(50.0)
        assert self.calls - before <= 11 * len(self.node.listed()), "quiet: nothing but heartbeats"

    @rule(session=st.just("a"))
    def drain(self, session: str) -> None:
        """With sessions open, a model that is no longer offered stays, without a free slot."""
        self.all_is_quiet()
        if self.offers[session] and self.node.reserve(session):
            self._run(5.0)
            self.offers[session] = None
            self._run(60.0)
            assert self.node.listed()[session].capacity == 1
            assert self.node.reserve(session) is None
            self.offers[session] = TWO
            self._run(1.0)
            assert self.node.listed()[session] == TWO
            assert self.node.runners[session].sessions

    @invariant()
    def an_unoffered_model_never_gets_more_than_it_had(self) -> None:
        for name, listing in self.entries.items():
            if self.offers[name] is None and listing.record is not None and listing.state is S.DRAINING:
                assert listing.record.capacity == max(1, len(listing.sessions))


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=examples(240), stateful_step_count=30)
