"""Values as bytes."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime

import pytest

from orchd.http1 import render


@pytest.mark.parametrize(
    ("status", "reason", "line"),
    [
        (200, b"", b"HTTP/1.1 200 OK\r\n"),
        (200, b"Fine \xe9", b"HTTP/1.1 200 Fine \xe9\r\n"),
        (599, b"", b"HTTP/1.1 599 \r\n"),
    ],
)
def test_a_status_line_always_has_its_three_parts(status: int, reason: bytes, line: bytes) -> None:
    assert render.status_line(status, reason) == line


def test_fields_keep_their_order_and_bytes() -> None:
    assert render.lines([(b"b", b"\xff"), (b"A", b"")]) == b"b: \xff\r\nA: \r\n"
    assert render.lines([]) == b""


def test_chunks_name_their_size_in_hex_and_the_last_holds_the_trailers() -> None:
    assert render.chunk(b"x" * 26) == b"1a\r\n" + b"x" * 26 + b"\r\n"
    assert render.last_chunk([]) == render.LAST_CHUNK == b"0\r\n\r\n"
    assert render.last_chunk([(b"A", b"b")]) == b"0\r\nA: b\r\n\r\n"


def test_the_date_is_todays_and_new_each_second(monkeypatch: pytest.MonkeyPatch) -> None:
    date = render.Date()
    for now in (1_700_000_000.0, 1_700_000_000.9, 1_700_000_001.0):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        name, _, value = date.line().decode().removesuffix("\r\n").partition(": ")
        assert name == "Date"
        assert parsedate_to_datetime(value).timestamp() == int(now)
