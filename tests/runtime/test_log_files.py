"""The last lines of a file are found from its end."""

from __future__ import annotations

from io import BytesIO

from hypothesis import given
from hypothesis import strategies as st

from orchd.runtime import log_files
from orchd.runtime.log_files import pieces, tail_from


def last(text: bytes, lines: int, start: int) -> bytes:
    return b"".join(text[start:].splitlines(keepends=True)[-lines:]) if lines else b""


@given(st.lists(st.sampled_from([b"\n", b"a", b"bb\n", b"x" * 10]), max_size=30), st.integers(0, 9), st.integers(0, 20))
def test_a_tail_is_so_many_lines(parts: list[bytes], lines: int, start: int) -> None:
    text = b"".join(parts)
    start = min(start, len(text))
    before, log_files.PIECE = log_files.PIECE, 4
    try:
        at = tail_from(BytesIO(text), start, len(text), lines)
        assert text[at:] == last(text, lines, start)
        assert b"".join(pieces(BytesIO(text), at, len(text))) == text[at:]
    finally:
        log_files.PIECE = before


def test_without_a_number_it_is_all_of_it() -> None:
    assert tail_from(BytesIO(b"a\nb"), 2, 3, None) == 2
