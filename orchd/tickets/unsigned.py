"""Senders who can't sign: gateways of go-livepeer that are off chain themselves."""

from __future__ import annotations

from collections import OrderedDict

import structlog

from orchd.tickets.validation.credentials import SignedBy

log = structlog.get_logger("orchd.tickets")

EMPTY = frozenset({"", "0x"})
MOST_REMEMBERED = 1024


def is_unsigned(signed: SignedBy) -> bool:
    """Return whether the signature is empty, as theirs are: the two characters `0x`."""
    return signed.sig in EMPTY


class UnsignedGateways:
    """Warns of each once."""

    def __init__(self) -> None:
        self._warned: OrderedDict[bytes, None] = OrderedDict()

    def warn(self, sender: bytes) -> None:
        """Say that this one crashes after its job has run, unless the answer is an event stream.

        Source: docs/protocol/byoc.md, 7.
        """
        if sender in self._warned:
            return
        self._warned[sender] = None
        if len(self._warned) > MOST_REMEMBERED:
            self._warned.popitem(last=False)
        log.warning(
            "gateway_will_crash",
            sender=f"0x{sender.hex()}",
            why="its signatures are empty, so it is an off-chain gateway of go-livepeer 0.9: answers other than event "
            "streams crash its handler, and its client sees the connection closed",
        )
