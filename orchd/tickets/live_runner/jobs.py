"""The hook `tickets` for sessions and jobs of Live Runner's clients.

    identify    reads and judges the whole payment: nothing is used up, and who could not pay gets no slot; one that is
                good and yet less than a fixed price is kept for the next try
    admit       looks again at what may have changed, books the payment with its manifest, and begins to charge
    charge      each second that was served is debited; a session ends at the first that is not covered
    settle      the last charge is written; who was not served is charged nothing

Source: docs/protocol/paid-live-runner.md, 6, 8 and 14. A refusal that a new challenge heals brings that along: clients
pay again at once, and go elsewhere for good without it.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.money import PriceUnit
from orchd.domain.outcomes import Outcome
from orchd.errors import StoreError
from orchd.hooks.account import Account
from orchd.hooks.hook import HookOptions, JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.refusal import Refusal
from orchd.hooks.usage import Usage
from orchd.tickets.byoc_tickets import BAD_BODY
from orchd.tickets.ledger.ports import Manifest
from orchd.tickets.live_runner.charging import ChargedSession, PaidStart
from orchd.tickets.live_runner.ports import Challenge
from orchd.tickets.live_runner.till import Till, headers, in_time
from orchd.tickets.refusals import refusal
from orchd.tickets.validation.credentials import read_payer
from orchd.tickets.validation.credit import rounded
from orchd.tickets.validation.faults import Blame, Fault, PaymentRefused
from orchd.tickets.validation.payment import read_payment
from orchd.tickets.validation.schemes import LIVE_RUNNER
from orchd.tickets.validation.validate import Expected

log = structlog.get_logger("orchd.tickets")

KEPT = "tickets"
HEALED = frozenset({Blame.STALE, Blame.MANIFEST, Blame.SHORT})
"""What a new challenge heals."""


class LiveRunnerTickets(JobHook):
    """Takes payment for what is reserved and asked for at Live Runner's public door.

    The price is that of the challenge, exactly.

    Args:
        models: returns a model that is offered now; None = it is not.
    """

    takes_payment = True

    def __init__(self, till: Till, models: Callable[[ModelKey], Model | None]) -> None:
        super().__init__(HookOptions())
        self._till = till
        self._models = models

    # A job.

    def identify(self, job: Job) -> Waits:
        """Judge the payment, if the job brings one or must. A request of a session was paid for with that."""
        if job.in_session:
            return None
        with self._till.refusing():
            if self._is_free(job):
                job.set_price(0)
                return None
        return self._identify(job)

    def admit(self, job: Job) -> Waits:
        """Book it, and begin to charge."""
        paying = job.kept(KEPT)
        return self._admit(job, paying) if isinstance(paying, PaidStart) else None

    def charge(self, account: Account, used: float) -> Waits:
        """Debit each whole second that was served."""
        if not account.price or self._till.charging.charge(account.id):
            return None
        with self._till.refusing():
            raise PaymentRefused(
                Fault.CREDIT_GONE,
                f"cannot go on: the payer's credit for this session of {account.capability} is used up",
            )

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        """Write the last charge, once."""
        charged = self._till.charging.find(account.id)
        if charged is None:
            return None
        return self._end(account, nothing=not (account.admitted and is_due(charged, outcome, usage)))

    # Its steps.

    def _is_free(self, job: Job) -> bool:
        """Return whether it costs nothing. Somebody who brings a payment has agreed on a price before."""
        if headers(job) == (b"", b""):
            return self._till.is_free(self._till.challenges.price(self._model(job)))
        return not self._till.payments.backed and self._till.trusting

    def _model(self, job: Job) -> Model:
        assert job.key is not None
        model = self._models(job.key)
        if model is None:
            raise PaymentRefused(Fault.PRICE_UNKNOWN, f"cannot sell {job.key}: it is not offered any more")
        return model

    async def _identify(self, job: Job) -> None:
        short_of = None
        try:
            async with in_time():
                paying = await self._judged(job)
                missing = self._missing(paying) if paying.manifest.fixed else 0
                if missing > 0:
                    await self._book(job, paying)
            if missing > 0:
                short_of = paying.manifest
                raise PaymentRefused(
                    Fault.CREDIT_SHORT,
                    f"cannot begin: {missing} wei of {paying.manifest.price} are missing; what was paid is kept",
                )
        except PaymentRefused as why:
            raise await self._refusal(job, why, short_of) from why
        job.set_payer(f"0x{paying.manifest.key.payer.hex()}")
        job.name_session(paying.manifest.id)
        job.set_price(paying.manifest.price, PriceUnit.FIXED if paying.manifest.fixed else PriceUnit.SECOND)
        job.keep(KEPT, paying)
        self._till.charging.waiting[paying.manifest.id] = paying

    async def _judged(self, job: Job) -> PaidStart:
        """Return what a payment is worth, and for which session.

        Raises:
            PaymentRefused: nothing of it was used up.
        """
        assert job.key is not None
        paid = self._till.read(job, job.key.slug)
        self._till.payments.require_fresh()
        manifest = self._till.ledger.manifest(paid.manifest) or paid.agreed(job.key)
        model = self._model(job)
        if manifest.persistent is not model.persistent:
            raise PaymentRefused(
                Fault.MANIFEST_FOREIGN,
                "cannot take the payment: it is for a session, and work is sold by the job now, or the other way round",
            )
        if self._till.sold.find(manifest.id) is not None:
            raise PaymentRefused(Fault.SESSION_LIVES, "cannot begin the session: it lives already")
        _check_unused(manifest)
        self._till.challenges.check_price(model, manifest)
        sender = paid.payment.sender
        expected = Expected(
            LIVE_RUNNER, self._till.payments.recipient, sender, price=manifest.price, fixed=manifest.fixed
        )
        return PaidStart(manifest, await self._till.payments.judge(paid.payment, expected))

    def _missing(self, paying: PaidStart) -> int:
        """Return the wei that a fixed price is short of, rounded up; 0 or less = it is covered."""
        in_hand = self._till.ledger.balance(paying.manifest.key).wei + paying.taken.credit
        return ceil(paying.manifest.price - in_hand)

    async def _admit(self, job: Job, paying: PaidStart) -> None:
        manifest = paying.manifest
        self._till.charging.waiting.pop(manifest.id, None)  # From now on its session is found.
        try:
            self._check_covered(paying)
            async with in_time():
                await self._book(job, paying)
        except PaymentRefused as why:
            raise await self._refusal(job, why) from why
        session = self._till.sold.find(manifest.id)
        assert session is not None, "it was registered before"
        self._till.charging.begin(job.account_id, manifest, session)

    def _check_covered(self, paying: PaidStart) -> None:
        """Check that a fixed price is still covered: since it was, another session may have come, been paid for with
        the same credit, and ended.

        Raises:
            PaymentRefused: it is not; nothing of this payment was used up.
        """
        if not paying.manifest.fixed:
            return
        _check_unused(self._till.ledger.manifest(paying.manifest.id) or paying.manifest)
        if (missing := self._missing(paying)) > 0:
            raise PaymentRefused(Fault.CREDIT_SHORT, f"cannot begin: {missing} wei of {paying.manifest.price} are gone")

    async def _book(self, job: Job, paying: PaidStart) -> None:
        assert job.key is not None
        manifest, taken = paying.manifest, paying.taken
        await self._till.payments.book(taken, LIVE_RUNNER, manifest.key, job.key, manifest)
        log.info(
            "payment_taken",
            request_id=job.request_id,
            session=manifest.id,
            tickets=len(taken.nonces),
            wei=rounded(taken.credit),
        )

    async def _refusal(self, job: Job, why: PaymentRefused, same: Manifest | None = None) -> Refusal:
        """Return the answer to a refused payment.

        Args:
            same: the manifest that it was credited to; None = nothing was.
        """
        challenge = None
        if why.fault.blame in HEALED:
            with self._till.refusing():
                challenge = await (self._new_challenge(job) if same is None else self._till.challenges.again(same))
        return refusal(self._till.payments.counts, LIVE_RUNNER, why, body=challenge)

    async def _new_challenge(self, job: Job) -> Challenge:
        return await self._till.challenges.new(self._model(job), _payer(job))

    async def _end(self, account: Account, *, nothing: bool) -> None:
        try:
            await self._till.charging.end(account.id, nothing=nothing)
        except StoreError as exc:
            log.warning("charge_not_written", account=account.id, why=exc.message, then="it is tried again")


def _payer(job: Job) -> bytes:
    """Return who is to be told new terms: the sender of the payment, even if the header names somebody else. The header
    counts where no payment can be read.

    Raises:
        PaymentRefused: nobody is named.
    """
    try:
        sender = read_payment(headers(job)[1]).sender
    except PaymentRefused:
        sender = b""
    return sender or read_payer(job.header(b"livepeer-payer-address") or b"")


def _check_unused(manifest: Manifest) -> None:
    """Check that no session was charged the fixed price of a manifest.

    Raises:
        PaymentRefused.
    """
    if manifest.charged:
        raise PaymentRefused(Fault.MANIFEST_USED, "cannot begin the session: its price was paid, and it is over")


def is_due(charged: ChargedSession, outcome: Outcome, usage: Usage) -> bool:
    """Return whether a session that was admitted is charged for.

    A session is once its client was told of it. A job is once the first byte of its answer has come; before that, its
    time is charged if it was the client who left, sent no good request, or had no more credit.
    """
    session, fixed = charged.session, charged.manifest.fixed
    if charged.resumed:
        return True
    if session.persistent:
        return not session.pending and not (fixed and outcome is Outcome.CLIENT_GONE)
    if usage.first_byte_s is not None:
        return True
    return not fixed and (charged.credit_gone or outcome is Outcome.CLIENT_GONE or usage.code in BAD_BODY)
