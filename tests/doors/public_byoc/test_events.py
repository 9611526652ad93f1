"""Event streams at BYOC's public door: what is put in, and what goes on as it came."""

from __future__ import annotations

import itertools
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.doors.public_byoc.events import CREDIT_GONE, PaidEvents
from orchd.relay.event_stream import LAST, MOST_LINE_BYTES

WEI = Fraction(7_967_500_000)
BALANCE = b'data: {"balance": 7967500000.000}\n\n'


def played(*pieces: bytes, broke: str = "", word: str = "") -> bytes:
    events = PaidEvents(lambda: WEI)
    passed = [events.passes(piece) for piece in pieces]
    assert None not in passed
    return b"".join([each for each in passed if each is not None]) + events.ending(broke, word)


def test_the_balance_stands_before_the_line_that_ends_the_stream() -> None:
    assert played(b"data: 1\n\ndata: [DONE]\n\n") == b"data: 1\n\n" + BALANCE + b"data: [DONE]\n\n"


def test_a_stream_without_that_line_gets_it() -> None:
    assert played(b"data: 1\n\n") == b"data: 1\n\n" + BALANCE + LAST
    assert played(b"data: 1\n") == b"data: 1\n\n" + BALANCE + LAST
    assert played(b"data: 1") == b"data: 1\n\n" + BALANCE + LAST
    assert played() == BALANCE + LAST


def test_a_last_line_that_is_not_ended_is_found_too() -> None:
    assert played(b"data: 1\n\ndata: [DONE]") == b"data: 1\n\n" + BALANCE + b"data: [DONE]\n\n"


def test_an_event_that_is_under_way_ends_first() -> None:
    assert played(b"data: 1\ndata: [DONE]\n\n") == b"data: 1\n\n" + BALANCE + b"data: [DONE]\n\n"


def test_what_follows_the_end_goes_on_as_it_is() -> None:
    rest = b"data: [DONE]\n\ndata: [DONE]\n\n: bye"
    assert played(rest) == BALANCE + rest


@pytest.mark.parametrize("begun", [b"", b"data: 1\n\n", b"data: 1\n", b"data: 1"])
def test_a_stream_that_breaks_off_says_why(begun: bytes) -> None:
    gone = played(begun, broke="cannot go on: no credit", word="credit_gone")
    whole = b"data: 1\n\n" if begun else b""
    assert gone == whole + CREDIT_GONE
    assert gone.endswith(b'event: insufficient balance\ndata: {"balance": 0}\n\ndata: [DONE]\n\n')
    broke = played(begun, broke="cannot go on: the runner broke", word="backend_broke")
    assert broke == whole + b'event: error\ndata: {"error": "cannot go on: the runner broke"}\n\n' + LAST


def test_a_debt_is_told_as_one() -> None:
    assert PaidEvents(lambda: Fraction(-5, 2)).ending() == b'data: {"balance": -2.500}\n\n' + LAST


def test_a_line_that_no_gateway_can_read_ends_the_stream() -> None:
    assert PaidEvents(lambda: WEI).passes(b"x" * MOST_LINE_BYTES) is None
    assert PaidEvents(lambda: WEI).passes(b"x" * MOST_LINE_BYTES + b"\n") is None
    assert PaidEvents(lambda: WEI).passes(b"\n" + b"x" * (MOST_LINE_BYTES - 1) + b"\n") is not None
    events = PaidEvents(lambda: WEI)
    half = b"x" * (MOST_LINE_BYTES // 2)
    assert events.passes(half) == b""
    assert events.passes(half) is None


LINES = st.lists(st.sampled_from([b"", b"data: 1", b"data: [DONE]", b": [DON", b"E]", b"event: x"]), max_size=8)


@given(LINES, st.booleans(), st.lists(st.integers(0, 100), max_size=6))
def test_wherever_it_is_cut_the_same_comes_out(lines: list[bytes], ended: bool, cuts: list[int]) -> None:
    stream = b"\n".join(lines) + (b"\n" if ended else b"")
    at = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[start:end] for start, end in itertools.pairwise(at)]
    assert played(*pieces) == played(stream)
    assert played(stream).count(b"balance") == 1
