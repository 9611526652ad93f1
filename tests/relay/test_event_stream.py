"""Event streams get an end that the node sees, however they were cut into pieces and wherever they broke off."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchd.relay.event_stream import LAST, MOST_LINE_BYTES, EventsEnd

TEXTS = st.text(st.sampled_from(list("d: [DONE]\r\n")), max_size=40).map(str.encode)
PIECES = st.lists(TEXTS, max_size=6)


def ended(*pieces: bytes, broke: str = "") -> bytes:
    """Return the whole stream, as the caller gets it."""
    end = EventsEnd()
    for piece in pieces:
        end.passes(piece)
    return b"".join(pieces) + end.ending(broke)


def lines(stream: bytes) -> list[bytes]:
    """As the node reads them: byoc.md 5.5."""
    return [line.removesuffix(b"\r") for line in stream.split(b"\n")]


@pytest.mark.parametrize(
    ("stream", "ending"),
    [
        (b"", LAST),
        (b"data: 1\n\n", LAST),
        (b"data: 1\n", b"\n" + LAST),
        (b"data: 1", b"\n\n" + LAST),
        (b"data: [DONE]\n\n", b""),
        (b"data: [DONE]", b""),
        (b'data: {"x": "[DONE]"}\n\ndata: 2\n\n', b""),
        (b"data: [done]\n\n", LAST),
    ],
)
def test_an_end_is_added_where_there_is_none(stream: bytes, ending: bytes) -> None:
    assert ended(stream) == stream + ending


@given(PIECES)
@example([b"data: [DO", b"NE]\n\n"])
@example([b"data: [", b"D", b"O", b"N", b"E", b"]\n\n"])
@example([b"", b""])
@example([b"data: 1\r\n", b"\r\n"])
def test_each_stream_ends_with_a_line_of_its_own_that_says_so_once(pieces: list[bytes]) -> None:
    got = ended(*pieces)
    assert got.startswith(b"".join(pieces))
    if b"[DONE]" in b"".join(pieces):
        assert got == b"".join(pieces)
    else:
        assert got.endswith(b"\n" + LAST) or got == LAST
        assert [line for line in lines(got) if b"[DONE]" in line] == [b"data: [DONE]"]


@given(PIECES, st.text(min_size=1))
def test_one_that_broke_off_says_why_before_it_ends(pieces: list[bytes], why: str) -> None:
    got = ended(*pieces, broke=why)
    assert got.startswith(b"".join(pieces))
    *before, event, data, gap, last, _, _ = lines(got)
    assert (event, gap, last) == (b"event: error", b"", b"data: [DONE]")
    assert json.loads(data.removeprefix(b"data: ")) == {"error": why}
    assert not before or before[-1] == b"", "the event under way has ended"


@given(st.lists(st.text(st.sampled_from(list("ab\r\n")), max_size=12).map(str.encode), max_size=8), st.integers(1, 9))
@example([b"aaa", b"aaa"], 6)
@example([b"aaa\n", b"aaaa"], 4)
@example([b"\naaaa\n"], 4)
def test_a_line_is_too_long_however_it_was_cut_into_pieces(pieces: list[bytes], most: int) -> None:
    """What was let through before is part of a line that is short enough."""
    end = EventsEnd(most_line=most)
    passed = b""
    for piece in pieces:
        if end.passes(piece) is None:
            assert max(map(len, (passed + piece).split(b"\n"))) >= most
            break
        passed += piece
    assert max(map(len, passed.split(b"\n"))) < most


def test_the_limit_is_go_livepeers_and_can_be_off() -> None:
    line = b"x" * MOST_LINE_BYTES
    assert EventsEnd().passes(line[1:] + b"\n") == line[1:] + b"\n"
    assert EventsEnd().passes(line) is None
    assert EventsEnd(most_line=0).passes(line) == line


def test_a_stream_whose_end_is_enough_gets_no_other() -> None:
    end = EventsEnd(last=b"")
    end.passes(b"data: 1")
    assert end.ending() == b""
    assert end.ending("it broke") == b'\n\nevent: error\ndata: {"error": "it broke"}\n\n'
