"""The hook `tickets`: jobs by the doors of the public listener are paid with lottery tickets.

    identify    reads and judges the whole payment: nothing is used up, and who could not pay gets no slot; one that is
                good and yet does not suffice is kept for the next try
    admit       looks again at what may have changed, books the payment, and begins to charge
    charge      each second that has begun is debited; without credit the session ends
    settle      the last charge is written; who was not served is charged nothing

What tickets are worth is credited to the payer, and stays credited when the job comes to nothing.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from fractions import Fraction

import structlog

from orchd.domain.money import PriceUnit
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, StoreError
from orchd.hooks.account import Account
from orchd.hooks.hook import HookOptions, JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.usage import Usage
from orchd.tickets.ledger.ports import LedgerKey, LedgerSession
from orchd.tickets.paid_sessions import PaidSessions
from orchd.tickets.payments import Payments
from orchd.tickets.prices import WorkPrice, quote
from orchd.tickets.refusals import refusing
from orchd.tickets.unsigned import UnsignedGateways, is_unsigned
from orchd.tickets.validation.credentials import JobHeader, check_signed, read_job
from orchd.tickets.validation.credit import NS_PER_S, meter_of, minimum_units, rounded
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.payment import Payment, read_payment
from orchd.tickets.validation.schemes import BYOC
from orchd.tickets.validation.validate import Expected, Taken, without_tickets

log = structlog.get_logger("orchd.tickets")

KEPT = "tickets"
BAD_BODY = frozenset({Code.BAD_REQUEST, Code.BODY_TOO_LARGE, Code.BODY_STALLED, Code.BODY_TOO_SLOW})
"""Of a job that has begun: its body came too slowly, or not as it must."""


@dataclass(slots=True)
class Paying:
    """What `identify` has found out about a job that costs something.

    Attributes:
        key: whose credit pays for it.
        price: what is charged.
        taken: what its payment is worth.
        patience_s: for how long the payer waits for an answer.
    """

    key: LedgerKey
    price: WorkPrice
    taken: Taken
    patience_s: int


@dataclass(frozen=True, slots=True)
class Left:
    """After `hooks.receipt.Receipt`."""

    sessions: PaidSessions
    session_id: str

    def left(self) -> Fraction:
        """See `PaidSessions.left`."""
        return self.sessions.left(self.session_id)


@dataclass(slots=True)
class Charged:
    """What `settle` must know of a job that is charged.

    Attributes:
        patience_s: for how long the payer waits for an answer.
        credit_gone: it was ended because its credit was used up.
    """

    patience_s: int
    credit_gone: bool = False


class Tickets(JobHook):
    """Takes payment for jobs that come by BYOC's public door.

    A price that was quoted with terms is honoured as long as they are: what is charged is that, or the price of now
    (the entry's, or what a hook has set) if that is lower.

    Args:
        trusting: off chain, work that has a price is done without payment. Else it is refused there.
    """

    takes_payment = True

    def __init__(self, payments: Payments, sessions: PaidSessions, *, trusting: bool) -> None:
        super().__init__(HookOptions())
        self._payments = payments
        self._sessions = sessions
        self._trusting = trusting
        self._unsigned = UnsignedGateways()
        self._charged: dict[str, Charged] = {}

    # A job.

    def identify(self, job: Job) -> Waits:
        """Judge the payment. Who brings no tickets, because the credit suffices, is not made to wait."""
        if not job.public:
            return None
        with self._refusing():
            header = self._read(job)
            terms = job.terms
            assert terms is not None
            price = quote(terms)
            if self._payments.is_free(price, trusting=self._trusting):
                return None
            payer = header.signed.sender
            payment = read_payment(job.header(b"livepeer-payment") or b"")
            expected = Expected(BYOC, self._payments.recipient, payer, terms.capability, fixed=price.fixed)
            paying = Paying(LedgerKey(BYOC.name, payer, terms.capability), price, Taken(payer), header.timeout_s)
            if without_tickets(payment, expected) is None:
                return self._judge(job, paying, payment, expected)
            self._would_pay(job, paying)
        return None

    def admit(self, job: Job) -> Waits:
        """Book it, and begin to charge."""
        paying = job.kept(KEPT)
        if not isinstance(paying, Paying):
            return None
        if paying.taken.terms is not None:
            return self._book(job, paying)
        with self._refusing():
            self._begin(job, paying)
        return None

    def charge(self, account: Account, used: float) -> Waits:
        """Debit each second that has begun."""
        balance = self._sessions.charge(account.id, round(used * NS_PER_S))
        if balance is None or balance.wei >= 0:
            return None
        self._charged[account.id].credit_gone = True
        with self._refusing():
            raise PaymentRefused(
                Fault.CREDIT_GONE, f"cannot go on: the payer's credit for {account.capability} is used up"
            )

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        """Write the last charge, once."""
        charged = self._charged.pop(account.id, None)
        if charged is None:
            return None
        nothing = not (account.admitted and is_due(charged, account.unit, outcome, usage))
        return self._end(account, round(usage.seconds * NS_PER_S), nothing=nothing)

    # Its steps.

    def _refusing(self) -> AbstractContextManager[None]:
        """As `refusals.refusing`."""
        return refusing(self._payments.counts, BYOC)

    def _read(self, job: Job) -> JobHeader:
        """Return what the job's header says, and name the payer. On chain it must have signed that."""
        header = read_job(job.header(b"livepeer") or b"")
        if self._payments.backed or not is_unsigned(header.signed):
            check_signed(header.signed)
        else:
            self._unsigned.warn(header.signed.sender)
        job.set_payer(f"0x{header.signed.sender.hex()}")
        return header

    async def _judge(self, job: Job, paying: Paying, payment: Payment, expected: Expected) -> None:
        with self._refusing():
            paying.taken = taken = await self._payments.judge(payment, expected)
            assert taken.price is not None
            paying.price = paying.price._replace(wei=min(paying.price.wei, int(taken.price)))
            try:
                self._would_pay(job, paying)
            except PaymentRefused:
                # A good payment that is too small is kept: a gateway pays what it thinks is needed, again and again.
                await self._take(job, paying)
                raise

    def _would_pay(self, job: Job, paying: Paying) -> None:
        """Check that the credit would suffice with this payment."""
        in_hand = self._sessions.spendable(paying.key).credited(paying.taken.credit)
        in_hand.require(minimum_units(BYOC, fixed=paying.price.fixed), Fraction(paying.price.wei))
        job.keep(KEPT, paying)

    async def _book(self, job: Job, paying: Paying) -> None:
        with self._refusing():
            await self._take(job, paying)
            self._begin(job, paying)

    async def _take(self, job: Job, paying: Paying) -> None:
        assert job.key is not None
        taken = paying.taken
        await self._payments.book(taken, BYOC, paying.key, job.key)
        log.info(
            "payment_taken",
            request_id=job.request_id,
            capability=paying.key.work,
            tickets=len(taken.nonces),
            wei=rounded(taken.credit),
        )

    def _begin(self, job: Job, paying: Paying) -> None:
        assert job.key is not None
        price, fixed = Fraction(paying.price.wei), paying.price.fixed
        meter = meter_of(BYOC, price, fixed=fixed)
        session = LedgerSession(job.account_id, paying.key, job.key, meter)
        self._sessions.begin(session, minimum_units(BYOC, fixed=fixed))
        self._charged[session.id] = Charged(paying.patience_s)
        job.set_price(price, PriceUnit.FIXED if fixed else PriceUnit.SECOND)
        job.set_receipt(Left(self._sessions, session.id))

    async def _end(self, account: Account, served_ns: int, *, nothing: bool) -> None:
        try:
            await self._sessions.end(account.id, served_ns, nothing=nothing)
        except StoreError as exc:
            log.warning("charge_not_written", account=account.id, why=exc.message, then="it is tried again")


def is_due(charged: Charged, unit: PriceUnit, outcome: Outcome, usage: Usage) -> bool:
    """Return whether a job that was admitted is charged for.

    It is once the first byte of the runner's answer has come. Before that, time is charged if it was the payer who did
    not wait any longer, sent no good request, or had no more credit; who pays once for a job pays nothing then.
    """
    if usage.first_byte_s is not None:
        return True
    waited_out = outcome is Outcome.TIMEOUT and usage.seconds >= charged.patience_s
    payers_doing = outcome is Outcome.CLIENT_GONE or usage.code in BAD_BODY
    return unit is not PriceUnit.FIXED and (charged.credit_gone or payers_doing or waited_out)
