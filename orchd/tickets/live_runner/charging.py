"""What sessions are charged: whole seconds in which they could be served, and never more than their credit covers.

Source: docs/protocol/paid-live-runner.md, 8. A session ends at the first whole second that is not covered, so no
manifest is ever in debt. A session that was found again after a restart goes on here at its first charge, from zero:
the time between the last written charge and the first sign of life after the restart is nobody's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import ceil
from weakref import WeakValueDictionary

from orchd.domain.sold import SoldSession, SoldSessions
from orchd.tickets.ledger.ports import Ledger, LedgerSession, Manifest
from orchd.tickets.validation.credit import Meter, meter_of
from orchd.tickets.validation.schemes import LIVE_RUNNER
from orchd.tickets.validation.validate import Taken

MOST_UNPAID_S = 3600
"""After a longer gap signers pay for a session no more."""


@dataclass(slots=True, weakref_slot=True)
class PaidStart:
    """A session that is about to begin: what was agreed on, and what its payment is worth."""

    manifest: Manifest
    taken: Taken


@dataclass(slots=True)
class ChargedSession:
    """A session that is charged.

    Attributes:
        paid_at: when it was paid for last; by the clock of `Charging`, seconds.
        resumed: it began before orchd did.
        credit_gone: it was ended because its credit was used up.
    """

    session: SoldSession
    manifest: Manifest
    meter: Meter
    paid_at: float
    resumed: bool = False
    credit_gone: bool = False


class Charging:
    """Begins, charges and ends them, by the id of their account.

    Args:
        now: monotonic clock, seconds.

    Attributes:
        waiting: by manifest: those that wait for a slot, as long as somebody holds on to them.
    """

    def __init__(self, ledger: Ledger, sold: SoldSessions, now: Callable[[], float]) -> None:
        self._ledger = ledger
        self._sold = sold
        self._now = now
        self._charged: dict[str, ChargedSession] = {}
        self.waiting: WeakValueDictionary[str, PaidStart] = WeakValueDictionary()

    def __len__(self) -> int:
        """Return how many are charged."""
        return len(self._charged)

    def find(self, account_id: str) -> ChargedSession | None:
        """Return one that is charged; None = it is not."""
        return self._charged.get(account_id)

    def begin(self, account_id: str, manifest: Manifest, session: SoldSession) -> None:
        """Charge a session from now on; a fixed price at once."""
        self._begin(account_id, ChargedSession(session, manifest, _meter(manifest), self._now()))
        self.charge(account_id)

    def charge(self, account_id: str) -> bool:
        """Charge for the time so far; return whether it was covered."""
        charged = self._charged.get(account_id) or self._resume(account_id)
        if charged is None:  # It is over; or the ledger was lost, and nothing pays for it.
            return self._sold.of_account(account_id) is None
        served_ns, covered = self._served_ns(charged)
        charged.meter = charged.meter.after(served_ns)
        self._ledger.charge(account_id, served_ns)
        charged.credit_gone = not covered
        return covered

    async def end(self, account_id: str, *, nothing: bool) -> None:
        """Write the last charge, once.

        Args:
            nothing: it is charged nothing.

        Raises:
            StoreError: that is written later.
        """
        charged = self._charged.pop(account_id)
        await self._ledger.end(account_id, self._served_ns(charged)[0], nothing=nothing)

    def paid(self, account_id: str) -> None:
        """Note that a session was topped up."""
        if (charged := self._charged.get(account_id)) is not None:
            charged.paid_at = self._now()

    def unpaid_s(self, manifest: Manifest) -> int:
        """Return for how many seconds nothing was paid for a session: whole ones, rounded up."""
        session = self._sold.find(manifest.id)
        charged = None if session is None else self._charged.get(session.account)
        seconds = self._ledger.idle_s(manifest.key) if charged is None else self._now() - charged.paid_at
        return min(ceil(seconds), MOST_UNPAID_S)

    def _resume(self, account_id: str) -> ChargedSession | None:
        """Charge one from now on that was found again; None = it is over, or nothing is known of its payment."""
        session = self._sold.of_account(account_id)
        manifest = None if session is None else self._ledger.manifest(session.id)
        if session is None or manifest is None:
            return None
        paid_at = self._now() - self._ledger.idle_s(manifest.key)
        return self._begin(account_id, ChargedSession(session, manifest, _meter(manifest), paid_at, resumed=True))

    def _begin(self, account_id: str, charged: ChargedSession) -> ChargedSession:
        manifest = charged.manifest
        self._ledger.begin(LedgerSession(account_id, manifest.key, manifest.model, charged.meter))
        self._charged[account_id] = charged
        return charged

    def _served_ns(self, charged: ChargedSession) -> tuple[int, bool]:
        """Return the time to charge for, and whether all of it is covered."""
        served_ns = self._sold.served_ns(charged.session)
        ends_at_ns = charged.meter.ends_at_ns(self._ledger.balance(charged.manifest.key))
        if ends_at_ns is None or served_ns < ends_at_ns:
            return served_ns, True
        return ends_at_ns - 1, False


def _meter(manifest: Manifest) -> Meter:
    """Return the meter of a session that begins, or goes on."""
    meter = meter_of(LIVE_RUNNER, manifest.price, fixed=manifest.fixed)
    return replace(meter, units=1) if manifest.charged else meter
