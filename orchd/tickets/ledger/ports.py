"""What the ledger offers to the hook and the doors that take payments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple, Protocol

from orchd.domain.ids import ModelKey
from orchd.tickets.validation.credit import Balance, Meter
from orchd.tickets.validation.facts import BookFacts
from orchd.tickets.validation.grants import AuthKey

if TYPE_CHECKING:  # They bring in the library of signatures, which commands that only read the ledger do without.
    from orchd.tickets.validation.keys import TermsKey, TermsKeys
    from orchd.tickets.validation.validate import Taken


class LedgerKey(NamedTuple):
    """Whose credit for what.

    Attributes:
        scheme: name of the payment scheme.
        payer: 20 bytes.
        work: the capability (BYOC) or the manifest (Live Runner).
    """

    scheme: str
    payer: bytes
    work: str


class Manifest(NamedTuple):
    """What a session that was paid on was promised with its challenge (docs/protocol/paid-live-runner.md, 12).

    Attributes:
        key: of its account, whose `work` is the manifest's id.
        runner: the model, as paths name it.
        price: wei per second, or per session.
        fixed: the price is per session.
        persistent: a session; else one job.
        issued_at: Unix time of the challenge, seconds.
        charged: its fixed price was charged: it is good for no other session.
    """

    key: LedgerKey
    runner: str
    model: ModelKey
    price: Fraction
    fixed: bool
    persistent: bool
    issued_at: int
    charged: bool = False

    @property
    def id(self) -> str:
        return self.key.work


@dataclass(frozen=True, slots=True)
class LedgerSession:
    """A session that is charged to an account.

    Attributes:
        id: of its `Account`.
        key: whose credit pays for it.
        model: what it runs on.
        meter: its price, and what it was charged so far.
    """

    id: str
    key: LedgerKey
    model: ModelKey
    meter: Meter


class Ledger(Protocol):
    """Balances, nonces and winners. What has returned from an `async` call is on the disk."""

    @property
    def terms_keys(self) -> TermsKeys:
        """Those by which terms are known again."""
        ...

    @property
    def terms_key(self) -> TermsKey:
        """The one to make new terms with."""
        ...

    @property
    def auth_keys(self) -> Mapping[int, AuthKey]:
        """Those by which auth tokens are known again, by id."""
        ...

    @property
    def auth_key(self) -> AuthKey:
        """The one to make new auth tokens with."""
        ...

    def balance(self, key: LedgerKey) -> Balance:
        """Return what is in hand now, charges of running sessions included that are not written yet."""
        ...

    def book_facts(self, commitment: bytes) -> BookFacts:
        """Return what was used on these terms, payments on their way to the disk included."""
        ...

    def unredeemed(self, payer: bytes) -> int:
        """Return the face values, in wei, of a payer's winning tickets that are not redeemed yet."""
        ...

    def idle_s(self, key: LedgerKey) -> float:
        """Return the seconds since a balance last changed in the store: 0 = there is none, or a clock was set back."""
        ...

    def manifest(self, id: str) -> Manifest | None:
        """Return what is known of a session that was paid on; None = it never was, or its credit is long gone."""
        ...

    async def take(self, taken: Taken, key: LedgerKey, model: ModelKey, manifest: Manifest | None = None) -> Balance:
        """Book a payment: nonces, winners and credit in one transaction. Return the balance with it.

        Args:
            manifest: is kept in the same transaction, unless it is kept already.

        The nonces count as used from the call on, so that two payments at once can't use the same; they are free again
        if the transaction fails. A payment without terms books nothing.

        Raises:
            PaymentRefused: one of its nonces was used meanwhile, or its terms have expired, were published or are void.
            StoreError: it can't be kept, and counts for nothing.
        """
        ...

    def begin(self, session: LedgerSession) -> None:
        """Charge this session from now on. It is known to the next start of orchd from its first written charge on."""
        ...

    def charge(self, session_id: str, served_ns: int) -> Balance:
        """Charge for the time so far, in memory; it is written from time to time. Return what is left.

        Args:
            served_ns: nanoseconds since the session began in which it could be served; never less than before.

        Raises:
            KeyError: there is no such session, or it has ended.
        """
        ...

    async def end(self, session_id: str, served_ns: int, *, nothing: bool = False) -> None:
        """Write the last charge, once; a second call changes nothing, nor one for a session that is not known.

        Args:
            nothing: the session is charged nothing, and what was charged is given back.

        Raises:
            StoreError: it can't be written now; it will be, as soon as that works.
        """
        ...
