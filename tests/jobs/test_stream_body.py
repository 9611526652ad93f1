"""Bodies of calls about streams: whatever the bytes, they are read or refused, and never break anything."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchd.errors import Code, JobRefused
from orchd.jobs.stream_body import (
    MAX_DEPTH,
    MAX_ID_BYTES,
    MAX_PARSED_BYTES,
    MAX_VALUES,
    check_start,
    said_id,
    stream_id,
)

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def refused_or_read(read: Callable[[], object]) -> object:
    """Return what is read; None = it is refused, as it should be."""
    refusal = None
    try:
        return read()
    except JobRefused as exc:
        refusal = exc
    assert refusal.code is Code.BAD_REQUEST
    refusal.message.encode()
    return None


BAD = [
    b"x",
    b"{",
    b"{}x",
    b"\xff\xfe{}",
    b'{"a": "\xed\xa0\x80"}',
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
    b'{"a": {"b": ["\\uDFFF"]}}',
    b'{"\\ud800": 1}',
    b'{"a": NaN}',
    b'{"a": -Infinity}',
    b'{"a": 1,}',
    b'{"a": ' + b"1" * 5000 + b"}",
    b'{"a": ' + b"[" * 100_000,
    b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
    b'{"a": [' + b"1," * MAX_VALUES + b"1]}",
    b"[]",
    b'"x"',
    b"null",
    b"7",
    b"\x00",
    b" ",
    b"x" * (MAX_PARSED_BYTES + 1),
    b"[" + b" " * MAX_PARSED_BYTES + b"]",
    b"{" + b" " * MAX_PARSED_BYTES,
]


@pytest.mark.parametrize("body", BAD, ids=lambda body: repr(body[:20]))
def test_a_start_that_is_no_json_object_for_everybody_is_400(body: bytes) -> None:
    with pytest.raises(JobRefused, match=r"^cannot read the body of the stream's start") as caught:
        check_start(body)
    assert (caught.value.code, caught.value.status) == (Code.BAD_REQUEST, 400)
    caught.value.message.encode()
    assert len(caught.value.message) < 300
    assert said_id(body) == "", "of a stop, which may be plain text"


@given(st.dictionaries(st.text(), VALUES))
def test_what_is_a_json_object_passes(said: dict[str, object]) -> None:
    for ascii_only in (True, False):
        assert check_start(json.dumps(said, ensure_ascii=ascii_only).encode()) == said


def test_of_what_is_too_long_to_be_read_in_one_go_only_the_ends_are_looked_at() -> None:
    """A gateway sends at most 10 MiB; what names the stream is in a header then."""
    long = b' {"gateway_request_id": "a", "image": "' + b"x" * MAX_PARSED_BYTES + b'"}\n'
    assert check_start(long) == {}
    assert said_id(long) == ""


def test_what_is_read_in_one_go_is_little() -> None:
    """The worst for their bytes: empty objects and arrays, long numbers. All of it holds up other jobs."""
    assert MAX_PARSED_BYTES <= 256 * 1024
    assert MAX_VALUES <= 20_000


def test_an_emoji_as_two_escapes_is_text() -> None:
    assert check_start(b'{"a": "\\ud83d\\ude00"}') == {"a": "\N{GRINNING FACE}"}
    assert check_start(b"\xef\xbb\xbf{}") == check_start(b"") == {}
    assert check_start(json.dumps({"a": [[] for _ in range(MAX_DEPTH * 2)]}).encode())


@given(st.binary() | VALUES.map(lambda said: json.dumps(said).encode()))
@example(b'{"gateway_request_id": "\\ud800"}')
@example(b'{"gateway_request_id": "a\\r\\nX-Evil: 1"}')
@example(b'{"gateway_request_id": ["a"]}')
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    refused_or_read(lambda: check_start(body))
    refused_or_read(lambda: said_id(body))


@given(st.text(min_size=1) | st.text(st.characters(categories=["Cs", "Cc", "L"]), min_size=1))
@example("x" * (MAX_ID_BYTES + 1))
@example("é" * MAX_ID_BYTES)
@example(" a")
@example("\ud800")
@example("a\r\nX-Evil: 1")
def test_a_streams_name_is_taken_as_it_is_or_refused(name: str) -> None:
    """It becomes a header's value: what that would change, or could not hold, is refused."""
    taken = refused_or_read(lambda: stream_id(name, "it"))
    if taken is not None:
        assert taken == name == name.strip()
        assert 0 < len(name.encode()) <= MAX_ID_BYTES
        assert not any(char in name for char in "\r\n\0")
