"""What sessions are charged: whole seconds in which they could be served, and never more than their credit covers.

Source: docs/protocol/paid-live-runner.md, 8. A session ends at the first whole second that is not covered, so no
manifest is ever in debt. A session that was found again after a restart goes on here at its first charge, from zero:
the time between the last written charge and the first sign of life after the restart is nobody's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from weakref import WeakValueDictionary

from orchd.domain.sold import SoldSession, SoldSessions
from orchd.hooks.account import Account
from orchd.tickets.ledger.ports import Ledger, LedgerSession, Manifest
from orchd.tickets.validation.credit import Meter, meter_of
from orchd.tickets.validation.schemes import LIVE_RUNNER
from orchd.tickets.validation.validate import Taken


@dataclass(slots=True, weakref_slot=True)
class PaidStart:
    """A session that is about to begin: what was agreed on, and what its payment is worth."""

    manifest: Manifest
    taken: Taken


@dataclass(slots=True)
class ChargedSession:
    """A session that is charged.

    Attributes:
        resumed: it began before orchd did.
        credit_gone: it was ended because its credit was used up.
    """

    session: SoldSession
    manifest: Manifest
    meter: Meter
    resumed: bool = False
    credit_gone: bool = False


class Charging:
    """Begins, charges and ends them, by the id of their account.

    Attributes:
        waiting: by manifest: those that wait for a slot, as long as somebody holds on to them.
    """

    def __init__(self, ledger: Ledger, sold: SoldSessions) -> None:
        self._ledger = ledger
        self._sold = sold
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
        self._begin(account_id, manifest, session, resumed=False)
        self.charge(account_id)

    def resume(self, account: Account) -> ChargedSession | None:
        """Charge a session from now on that was found again; None = nothing is known of its payment."""
        session = self._sold.of_account(account.id)
        manifest = None if session is None else self._ledger.manifest(session.id)
        if session is None or manifest is None:
            return None
        return self._begin(account.id, manifest, session, resumed=True)

    def charge(self, account_id: str) -> bool:
        """Charge for the time so far; return whether it was covered."""
        charged = self._charged[account_id]
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

    def _begin(self, account_id: str, manifest: Manifest, session: SoldSession, *, resumed: bool) -> ChargedSession:
        meter = meter_of(LIVE_RUNNER, manifest.price, fixed=manifest.fixed)
        if manifest.charged:
            meter = replace(meter, units=1)
        self._ledger.begin(LedgerSession(account_id, manifest.key, manifest.model, meter))
        made = self._charged[account_id] = ChargedSession(session, manifest, meter, resumed)
        return made

    def _served_ns(self, charged: ChargedSession) -> tuple[int, bool]:
        """Return the time to charge for, and whether all of it is covered."""
        served_ns = self._sold.served_ns(charged.session)
        ends_at_ns = charged.meter.ends_at_ns(self._ledger.balance(charged.manifest.key))
        if ends_at_ns is None or served_ns < ends_at_ns:
            return served_ns, True
        return ends_at_ns - 1, False
