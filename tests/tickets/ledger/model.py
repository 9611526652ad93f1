"""What the ledger should hold, told independently: dicts and sums, no store, no batches, no bits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from fractions import Fraction

from orchd.tickets.ledger.ports import LedgerKey
from orchd.tickets.validation.validate import Taken


@dataclass
class ModelSession:
    """A session. Units are charged in memory; what is `written` outlives a crash."""

    key: LedgerKey
    price: Fraction
    charged: int = 0
    written: int = 0


@dataclass
class LedgerModel:
    """The written state, and the sessions beside it.

    Attributes:
        balances: wei that are written.
        touched: when each balance was changed last.
        used: nonces by commitment.
        owed: face values of winners by payer.
        tickets: how many were ever taken.
    """

    balances: dict[LedgerKey, Fraction] = field(default_factory=dict)
    touched: dict[LedgerKey, float] = field(default_factory=dict)
    used: dict[bytes, frozenset[int]] = field(default_factory=dict)
    owed: dict[bytes, int] = field(default_factory=dict)
    tickets: int = 0
    sessions: dict[str, ModelSession] = field(default_factory=dict)

    def copied(self) -> LedgerModel:
        return copy.deepcopy(self)

    def balance(self, key: LedgerKey) -> Fraction:
        """Return what is in hand, charges of running sessions included."""
        running = (each for each in self.sessions.values() if each.key == key)
        due = sum(((each.charged - each.written) * each.price for each in running), Fraction())
        return self.balances.get(key, Fraction()) - due

    def add(self, key: LedgerKey, wei: Fraction, now: float) -> None:
        self.balances[key] = self.balances.get(key, Fraction()) + wei
        self.touched[key] = now

    def write(self, keys: Iterable[LedgerKey], now: float) -> None:
        """Write the charges of these accounts' sessions."""
        wanted = {*keys}
        for each in self.sessions.values():
            if each.key in wanted and each.charged != each.written:
                self.add(each.key, -(each.charged - each.written) * each.price, now)
                each.written = each.charged

    def pay(self, taken: Taken, key: LedgerKey, now: float) -> None:
        """Take a good payment."""
        assert taken.terms is not None
        terms = taken.terms
        self.add(key, taken.credit, now)
        self.used[terms.commitment] = self.used.get(terms.commitment, frozenset()) | {*taken.nonces}
        self.owed[key.payer] = self.owed.get(key.payer, 0) + terms.face_value * len(taken.winners)
        self.tickets += len(taken.nonces)
        self.write([key], now)

    def end(self, id: str, now: float, *, nothing: bool) -> None:
        """End a session."""
        if nothing:
            ended = self.sessions.pop(id)
            if ended.written:
                self.add(ended.key, ended.written * ended.price, now)
            self.write([ended.key], now)
        else:
            self.write([self.sessions[id].key], now)
            del self.sessions[id]

    def die(self) -> None:
        """Orchd ends with its sessions running: what was not written is lost to the operator."""
        self.sessions.clear()

    def void(self) -> None:
        """All terms are void: their nonces are of no use any more."""
        self.used.clear()

    def forfeit(self, idle_s: float, now: float) -> None:
        """Idle credit goes; debt never."""
        busy = {each.key for each in self.sessions.values()}
        for key, wei in self.balances.items():
            if wei > 0 and key not in busy and now - self.touched[key] >= idle_s:
                self.add(key, -wei, now)

    def same(self, other: LedgerModel) -> bool:
        """Return whether the written states are one."""
        return (self._kept(), self.used, self._owed(), self.tickets) == (
            *(other._kept(), other.used, other._owed(), other.tickets),
        )

    def _kept(self) -> dict[LedgerKey, Fraction]:
        return {key: wei for key, wei in self.balances.items() if wei}

    def _owed(self) -> dict[bytes, int]:
        return {payer: wei for payer, wei in self.owed.items() if wei}


ModelChange = Callable[[LedgerModel], None]
