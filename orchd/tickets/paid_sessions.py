"""The sessions that are being paid for now: what each may still use, and what is charged to the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from orchd.tickets.ledger.ports import Ledger, LedgerKey, LedgerSession
from orchd.tickets.validation.credit import NS_PER_S, Balance, Meter


@dataclass(slots=True, eq=False)
class PaidSession:
    """A session that is charged.

    Attributes:
        id: of its account.
        key: whose credit pays for it.
        meter: its price, and what was charged.
        minimum: units that were in hand when it began: no other session may count on them before they are used.
        began_ns: by the clock of `PaidSessions`.
    """

    id: str
    key: LedgerKey
    meter: Meter
    minimum: int
    began_ns: int

    @property
    def held(self) -> Fraction:
        """Wei that are kept for it."""
        return max(0, self.minimum - self.meter.units) * self.meter.price


class PaidSessions:
    """Begins, charges and ends paid sessions. Two of one payer share its credit.

    Args:
        now: clock, seconds.
    """

    def __init__(self, ledger: Ledger, now: Callable[[], float]) -> None:
        self._ledger = ledger
        self._now = now
        self._running: dict[str, PaidSession] = {}
        self._of: dict[LedgerKey, set[PaidSession]] = {}

    def __len__(self) -> int:
        """Return how many are running."""
        return len(self._running)

    def spendable(self, key: LedgerKey) -> Balance:
        """Return what a new session may count on: the balance, less what is kept for those that have just begun."""
        held = sum((session.held for session in self._of.get(key, ())), Fraction())
        return Balance(self._ledger.balance(key).wei - held)

    def begin(self, session: LedgerSession, minimum: int) -> None:
        """Charge a session from now on.

        Args:
            minimum: units that must be in hand.

        Raises:
            PaymentRefused: they are not.
        """
        self.spendable(session.key).require(minimum, session.meter.price)
        self._ledger.begin(session)
        began_ns = self._clock_ns()
        running = PaidSession(session.id, session.key, session.meter, minimum, began_ns)
        self._running[session.id] = running
        self._of.setdefault(session.key, set()).add(running)

    def charge(self, session_id: str, served_ns: int) -> Balance | None:
        """Charge for the time so far; return what is left, None = it is not charged here.

        Args:
            served_ns: nanoseconds for which it was served; never less than before.
        """
        session = self._running.get(session_id)
        if session is None:
            return None
        session.meter = session.meter.after(served_ns)
        return self._ledger.charge(session_id, served_ns)

    async def end(self, session_id: str, served_ns: int, *, nothing: bool) -> bool:
        """Write the last charge; return whether it was charged here.

        Args:
            nothing: it is charged nothing.

        Raises:
            StoreError: that is written later.
        """
        session = self._running.pop(session_id, None)
        if session is None:
            return False
        self._of[session.key].discard(session)
        if not self._of[session.key]:
            del self._of[session.key]
        await self._ledger.end(session_id, served_ns, nothing=nothing)
        return True

    def left(self, session_id: str) -> Fraction:
        """Return the wei that the payer of a session has in hand at this moment, the second that runs included."""
        session = self._running[session_id]
        due = session.meter.after(self._clock_ns() - session.began_ns).due_since(session.meter)
        return self._ledger.balance(session.key).wei - due * session.meter.price

    def _clock_ns(self) -> int:
        return round(self._now() * NS_PER_S)
