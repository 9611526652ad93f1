"""An event stream on its way to a gateway that pays for it (docs/protocol/byoc.md, 5.5). Pure.

Before the line with `[DONE]`, by which the gateway knows the end, it is told what is left; a stream without that line
gets one. Lines go on whole, since only a whole line shows whether it is that one.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from orchd.relay.event_stream import DONE, LAST, MOST_LINE_BYTES, broke_off
from orchd.tickets.validation.faults import Fault

CREDIT_GONE = b'event: insufficient balance\ndata: {"balance": 0}\n\n' + LAST


class PaidEvents:
    """After `relay.ports.EventStream`.

    Args:
        left: returns the wei that the payer has in hand.
    """

    def __init__(self, left: Callable[[], Fraction]) -> None:
        self._left = left
        self._line: list[bytes] = []
        self._length = 0
        self._tail = b""
        self._done = False

    def passes(self, data: bytes) -> bytes | None:
        """See `EventStream`."""
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._line.append(data)
            self._length += len(data)
            return None if self._length >= MOST_LINE_BYTES else b""
        lines = b"".join((*self._line, data[:cut]))
        self._line, self._length = [data[cut:]], len(data) - cut
        if self._length >= MOST_LINE_BYTES or _longest(lines) >= MOST_LINE_BYTES:
            return None
        if not self._done and (found := lines.find(DONE)) >= 0:
            self._done = True
            at = lines.rfind(b"\n", 0, found) + 1
            lines = lines[:at] + self._gap(lines[:at]) + self._balance() + lines[at:]
        self._tail = (self._tail + lines)[-2:]
        return lines

    def ending(self, broke: str = "", word: str = "") -> bytes:
        """See `EventStream`."""
        rest = b"".join(self._line)
        if self._done and not broke:
            return rest
        if not broke and DONE in rest:
            return self._gap() + self._balance() + rest + b"\n\n"
        if rest:
            rest += b"\n"
        rest += self._gap(rest)
        if word == Fault.CREDIT_GONE:
            return rest + CREDIT_GONE
        return rest + (broke_off(broke) if broke else self._balance()) + LAST

    def _gap(self, lines: bytes = b"") -> bytes:
        """Return what ends the event that is under way when these lines have gone on, too."""
        return b"" if (self._tail + lines)[-2:] in (b"", b"\n\n") else b"\n"

    def _balance(self) -> bytes:
        thousandths = round(self._left() * 1000)
        sign, (whole, part) = "-" if thousandths < 0 else "", divmod(abs(thousandths), 1000)
        return f'data: {{"balance": {sign}{whole}.{part:03}}}\n\n'.encode()


def _longest(lines: bytes) -> int:
    return len(lines) if len(lines) <= MOST_LINE_BYTES else max(map(len, lines.split(b"\n")))
