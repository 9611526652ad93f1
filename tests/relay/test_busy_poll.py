"""When the loop busy-polls, on a clock of microseconds that the test moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.relay.busy_poll import MOST_PAUSED, BusyPoll

POLL = 100
TURN = 10


class Loop:
    """A loop whose every turn takes 10 us. Attributes:
    polled: turns that it did not block in.
    """

    def __init__(self, poll: int = POLL) -> None:
        self.now = 5_000_000
        self.ready: list[Callable[[], None]] = []
        self.polled = 0
        self.busy = BusyPoll(self.ready.append, poll, lambda: self.now)

    def message(self, after: int, *, alone: bool = True) -> None:
        """Let `after` pass, then have a message go out."""
        until = self.now + after
        while self.ready and self.now + TURN <= until:
            calls, self.ready[:] = list(self.ready), []
            assert len(calls) == 1, "it is never twice in the loop"
            calls[0]()
            self.polled += 1
            self.now += TURN
        self.now = until
        self.busy.sent(alone=alone)


def a_chat(poll: int = POLL) -> Loop:
    """Return a loop on which messages come one by one, each soon after the other."""
    loop = Loop(poll)
    for _ in range(3):
        loop.message(50)
    loop.polled = 0
    return loop


@pytest.fixture(autouse=True)
def several_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 4)


def test_after_a_first_message_the_loop_blocks() -> None:
    loop = Loop()
    loop.message(0)
    assert loop.ready == []


def test_it_busy_polls_while_messages_come_one_by_one() -> None:
    loop = a_chat()
    for _ in range(100):
        loop.message(50)
    assert loop.polled == 500


def test_it_busy_polls_for_as_long_as_it_was_told_and_not_longer() -> None:
    loop = a_chat()
    loop.message(60_000_000)
    assert POLL <= loop.polled * TURN <= POLL + 2 * TURN
    assert loop.ready == []


def test_what_took_long_is_not_polled_for() -> None:
    loop = a_chat()
    loop.message(1_000_000)
    loop.polled = 0
    for _ in range(100):
        loop.message(500)
    assert loop.polled == 0


def test_where_several_messages_go_out_at_once_it_does_not_busy_poll() -> None:
    loop = a_chat()
    for _ in range(100):
        loop.message(50, alone=False)
    assert loop.polled <= 10, "but for what was under way"


def test_with_no_time_to_busy_poll_it_never_does() -> None:
    assert a_chat(0).ready == []


def test_with_one_processor_it_never_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    assert a_chat().ready == []


def test_a_runner_that_takes_longer_than_its_quick_callers_costs_next_to_nothing() -> None:
    """The pattern in which the last gap tells nothing about the next."""
    loop = Loop()
    rounds = 10_000
    for _ in range(rounds):
        loop.message(50)  # the request, soon after the last answer
        loop.message(2000)  # the answer
    wasted = loop.polled * TURN
    assert wasted < 2 * (rounds / MOST_PAUSED + 11) * POLL


def test_after_such_a_time_it_busy_polls_again_where_that_is_of_use() -> None:
    loop = Loop()
    for _ in range(10_000):
        loop.message(50)
        loop.message(2000)
    for _ in range(2 * MOST_PAUSED):
        loop.message(50)
    loop.polled = 0
    loop.message(50)
    assert loop.polled == 5


@given(st.lists(st.tuples(st.sampled_from([0, 30, 90, 150, 300, 10_000]), st.booleans())))
def test_each_poll_in_vain_is_paid_by_a_short_one_or_doubles_the_pause(gaps: list[tuple[int, bool]]) -> None:
    loop = Loop()
    short = vain = 0
    for after, alone in gaps:
        before = loop.polled
        loop.message(after, alone=alone)
        spent = (loop.polled - before) * TURN
        assert spent <= POLL + 2 * TURN
        if after > POLL + TURN:
            vain += spent > 0
        else:
            short += 1
    assert vain <= short + 12
