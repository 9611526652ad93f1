"""The end of an event stream whose reader must be told of it in words. Pure.

go-livepeer does not notice over BYOC that its worker has closed: it writes empty lines in a busy loop until it sees
`[DONE]` and its caller leaves (byoc.md 5.5). So each stream ends with that line, and one that broke off says so first.
A line of 64 KiB or more ends its reading in the same way: it must not get there.
"""

from __future__ import annotations

import json

DONE = b"[DONE]"
LAST = b"data: [DONE]\n\n"
MOST_LINE_BYTES = 64 * 1024
"""Bytes of one line, its end not counted, that go-livepeer can no longer read."""


class EventsEnd:
    """Watches the bytes of one event stream go by.

    Args:
        last: the event with which a stream ends; empty = its own end is enough.
        most_line: bytes of a line that are too many; 0 = no limit.
    """

    __slots__ = ("_last", "_line", "_most_line", "_tail", "done")

    def __init__(self, last: bytes = LAST, most_line: int = MOST_LINE_BYTES) -> None:
        self.done = False
        self._last = last
        self._most_line = most_line
        self._line = 0
        self._tail = b""

    def passes(self, data: bytes) -> bytes | None:
        """Return these bytes of the answer, which are next to go to the caller; None = a line is too long."""
        if self._most_line and self._too_long(data):
            return None
        seen = self._tail + data
        self.done = self.done or DONE in seen
        self._tail = seen[-(len(DONE) - 1) :]
        return data

    def _too_long(self, data: bytes) -> bool:
        most, before, last = self._most_line, self._line, data.rfind(b"\n")
        if last < 0:
            self._line = before + len(data)
            return self._line >= most
        self._line = len(data) - last - 1
        if before + data.find(b"\n") >= most or self._line >= most:
            return True
        return len(data) > most and max(map(len, data.split(b"\n"))) >= most

    def ending(self, broke: str = "", word: str = "") -> bytes:
        """Return what is to follow the last bytes, so that the caller sees an end; `broke`: why it broke off, if so."""
        if not broke and (self.done or not self._last):
            return b""
        # Whatever line and event were under way end first.
        gap = b"" if self._tail.endswith(b"\n\n") or not self._tail else b"\n" if self._tail[-1:] == b"\n" else b"\n\n"
        if not broke:
            return gap + self._last
        return gap + broke_off(broke) + self._last


def broke_off(why: str) -> bytes:
    """Return the event that says why a stream broke off."""
    return b"event: error\ndata: " + json.dumps({"error": why}).encode() + b"\n\n"
