"""The end of an event stream that goes to go-livepeer over BYOC. Pure.

The node does not notice that its worker has closed: it writes empty lines in a busy loop until it sees `[DONE]` and
its caller leaves (byoc.md 5.5). So each stream ends with that line, and one that broke off says so first.
"""

from __future__ import annotations

import json

DONE = b"[DONE]"
LAST = b"data: [DONE]\n\n"


class EventsEnd:
    """Watches the bytes of one event stream go by."""

    __slots__ = ("_tail", "done")

    def __init__(self) -> None:
        self.done = False
        self._tail = b""

    def saw(self, data: bytes) -> None:
        """These bytes of the answer are on their way to the caller."""
        seen = self._tail + data
        self.done = self.done or DONE in seen
        self._tail = seen[-(len(DONE) - 1) :]

    def ending(self, broke: str = "") -> bytes:
        """Return what is to follow the last bytes, so that the caller sees an end; `broke`: why it broke off, if so."""
        if self.done and not broke:
            return b""
        # Whatever line and event were under way end first.
        gap = b"" if self._tail.endswith(b"\n\n") or not self._tail else b"\n" if self._tail[-1:] == b"\n" else b"\n\n"
        if not broke:
            return gap + LAST
        return gap + b"event: error\ndata: " + json.dumps({"error": broke}).encode() + b"\n\n" + LAST
