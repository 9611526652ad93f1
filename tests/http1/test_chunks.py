"""The chunked coding: every split of it gives the same, and what is not it is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.http1 import render
from orchd.http1.chunks import MOST_TRAILERS, ChunkedBody
from orchd.http1.names import Header
from orchd.http1.rules import Malformed

NAME = st.from_regex(rb"[A-Za-z-]{1,8}", fullmatch=True)
VALUE = st.from_regex(rb"[!-~]{0,8}", fullmatch=True)


def decoded(data: bytes, size: int | None = None, most: int = 1000) -> tuple[bytes, list[Header], bytes | None]:
    """Return the body, its trailers, and what follows; None = it goes on."""
    chunked, pieces = ChunkedBody(most), list[bytes]()
    size = size or len(data)
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        read, _ = chunked.feed(piece, pieces.append, 10**9)
        if chunked.ended:
            return b"".join(pieces), chunked.trailers, piece[read:] + data[at + size :]
        assert read == len(piece)
    return b"".join(pieces), chunked.trailers, None


@given(st.lists(st.binary(min_size=1, max_size=40)), st.lists(st.tuples(NAME, VALUE), max_size=3), st.integers(1, 99))
def test_what_is_rendered_is_decoded_however_it_is_split(
    chunks: list[bytes], trailers: list[Header], size: int
) -> None:
    data = b"".join(map(render.chunk, chunks)) + render.last_chunk(trailers)
    assert decoded(data + b"GET / HTTP", size) == (b"".join(chunks), trailers, b"GET / HTTP")
    assert decoded(data[:-1], size)[2] is None


def test_extensions_leading_zeros_and_any_case_are_read() -> None:
    data = b'00A;x=y\r\n0123456789\r\na ; z="q"\r\n0123456789\r\n000\r\nX-A: \tb\r\n\r\n'
    assert decoded(data) == (b"0123456789" * 2, [(b"X-A", b"b")], b"")


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1_0\r\n",
        b"1\n",
        b"1\r\na\n",
        b"1\r\nab\r\n",
        b"1;a\x00b\r\n",
        b"1;a\rb\r\n",
        b"f" * 16 + b"\r\n",
        b"0\r\nno colon\r\n",
        b"0\r\n: no name\r\n",
        b"0\r\nA : b\r\n",
        b"0\r\n A: folded\r\n",
        b"0\r\nA: b\x00\r\n",
        b"0\r\nA: b\n",
        b"0\r\nA: b\rc\r\n",
    ],
)
@pytest.mark.parametrize("size", [1, None])
def test_what_is_no_chunk_is_refused_however_it_is_split(data: bytes, size: int | None) -> None:
    with pytest.raises(Malformed):
        decoded(data, size)


@pytest.mark.parametrize("size", [1, None])
def test_lines_and_trailers_have_a_bound(size: int | None) -> None:
    assert decoded(b"1;" + b"a" * 90 + b"\r\nz\r\n0\r\n\r\n", size, most=100)[0] == b"z"
    for data in (b"1;" + b"a" * 200, b"0\r\nA: " + b"b" * 200, b"0\r\n" + b"A: b\r\n" * 40):
        with pytest.raises(Malformed):
            decoded(data, size, most=100)


@pytest.mark.parametrize("size", [3, None])
def test_trailers_are_so_many_however_short_they_are(size: int | None) -> None:
    assert len(decoded(b"0\r\n" + b"a:\r\n" * MOST_TRAILERS + b"\r\n", size, most=65536)[1]) == MOST_TRAILERS
    with pytest.raises(Malformed, match="trailers"):
        decoded(b"0\r\n" + b"a:\r\n" * (MOST_TRAILERS + 1) + b"\r\n", size, most=65536)
    assert MOST_TRAILERS <= 1000
