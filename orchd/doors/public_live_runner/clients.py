"""When clients came last, and how many pay: it shows whether orchd is found. Pure: the clock is given."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from orchd.domain.sold import SoldSession
from orchd.domain.state import ClientsStatus

MOST_PAYERS = 4096
"""Addresses in memory; of more, those that paid last are counted."""


class ClientsSeen:
    """After `calls.NotesClients`.

    Args:
        clock: Unix time.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._discovery_at = self._challenge_at = self._paid_at = 0.0
        self._payers: OrderedDict[str, None] = OrderedDict()

    def discovered(self) -> None:
        """See `calls.NotesClients`."""
        self._discovery_at = self._clock()

    def challenged(self) -> None:
        """See `calls.NotesClients`."""
        self._challenge_at = self._clock()

    def began(self, session: SoldSession) -> None:
        """A session has begun; only one that is paid for counts."""
        if not session.payer:
            return
        self._paid_at = self._clock()
        self._payers[session.payer] = None
        self._payers.move_to_end(session.payer)
        if len(self._payers) > MOST_PAYERS:
            self._payers.popitem(last=False)

    @property
    def status(self) -> ClientsStatus:
        """What is known now."""
        return ClientsStatus(self._since, self._discovery_at, self._challenge_at, self._paid_at, len(self._payers))
