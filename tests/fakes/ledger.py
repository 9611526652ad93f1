"""The ledger without a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from orchd.domain.ids import ModelKey
from orchd.errors import StoreError
from orchd.tickets.ledger.ports import LedgerKey, LedgerSession, Manifest
from orchd.tickets.validation.credit import Balance
from orchd.tickets.validation.facts import BookFacts
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.grants import AuthKey
from orchd.tickets.validation.keys import TermsKey, TermsKeys
from orchd.tickets.validation.validate import Taken, Winner

TERMS_KEY = TermsKey(7, bytes(range(32)))
AUTH_KEY = AuthKey(5, b"k" * 32)


@dataclass
class FakeLedger:
    """After `tickets.ledger.ports.Ledger`.

    Attributes:
        broken: the store can't be written.
        charged: wei in all, by account.
    """

    terms_key: TermsKey = TERMS_KEY
    terms_keys: TermsKeys = field(default_factory=lambda: TermsKeys({TERMS_KEY.id: TERMS_KEY}))
    auth_key: AuthKey = AUTH_KEY
    auth_keys: Mapping[int, AuthKey] = field(default_factory=lambda: {AUTH_KEY.id: AUTH_KEY})
    broken: bool = False
    balances: defaultdict[LedgerKey, Balance] = field(default_factory=lambda: defaultdict(Balance))
    nonces: defaultdict[bytes, set[int]] = field(default_factory=lambda: defaultdict(set))
    manifests: dict[str, Manifest] = field(default_factory=dict)
    winners: list[Winner] = field(default_factory=list)
    running: dict[str, LedgerSession] = field(default_factory=dict)
    ended: list[str] = field(default_factory=list)
    charged: defaultdict[LedgerKey, Fraction] = field(default_factory=lambda: defaultdict(Fraction))

    def balance(self, key: LedgerKey) -> Balance:
        return self.balances[key]

    def book_facts(self, commitment: bytes) -> BookFacts:
        return BookFacts(self.nonces[commitment])

    def unredeemed(self, payer: bytes) -> int:
        return 0

    def idle_s(self, key: LedgerKey) -> float:
        return 0.0

    def manifest(self, id: str) -> Manifest | None:
        return self.manifests.get(id)

    async def take(self, taken: Taken, key: LedgerKey, model: ModelKey, manifest: Manifest | None = None) -> Balance:
        if self.broken:
            raise StoreError("cannot write the store: it is broken")
        assert taken.terms is not None
        used = self.nonces[taken.terms.commitment]
        if used & set(taken.nonces):
            raise PaymentRefused(Fault.NONCE_SEEN, "cannot take the payment: a nonce was used")
        used.update(taken.nonces)
        if manifest is not None:
            self.manifests.setdefault(manifest.id, manifest)
        self.winners += taken.winners
        self.balances[key] = self.balances[key].credited(taken.credit)
        return self.balances[key]

    def begin(self, session: LedgerSession) -> None:
        self.running[session.id] = session

    def charge(self, session_id: str, served_ns: int) -> Balance:
        session = self.running[session_id]
        after = session.meter.after(served_ns)
        due = after.due_since(session.meter)
        self.balances[session.key] = self.balances[session.key].charged(due, after.price)
        self.charged[session.key] += due * after.price
        self.running[session_id] = replace(session, meter=after)
        return self.balances[session.key]

    async def end(self, session_id: str, served_ns: int, *, nothing: bool = False) -> None:
        assert session_id not in self.ended, "ended twice"
        if not nothing:
            self.charge(session_id, served_ns)
        session = self.running.pop(session_id)
        self.ended.append(session_id)
        if nothing:
            back = Fraction(session.meter.units) * session.meter.price
            self.balances[session.key] = self.balances[session.key].credited(back)
            self.charged[session.key] -= back
