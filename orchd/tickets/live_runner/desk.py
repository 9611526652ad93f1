"""What clients of Live Runner's are told before they pay, and how sessions are topped up.

Source: docs/protocol/paid-live-runner.md, 4, 9 and 14. A client never pays again after a 4xx to a top-up, so trouble of
our own and terms that have expired on their way are 503, and each answer comes while the client still waits for it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

import structlog

from orchd.domain.model import Model
from orchd.domain.sold import SoldSession
from orchd.tickets.ledger.ports import Manifest
from orchd.tickets.live_runner.ports import Challenge, DeskRequest
from orchd.tickets.live_runner.till import Till, in_time
from orchd.tickets.validation.credentials import read_payer
from orchd.tickets.validation.credit import rounded
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.schemes import LIVE_RUNNER, Occasion
from orchd.tickets.validation.signatures import read_address
from orchd.tickets.validation.validate import Expected, Taken

log = structlog.get_logger("orchd.tickets")


@dataclass(frozen=True, slots=True)
class Desk:
    """After `ports.LiveRunnerDesk`."""

    till: Till

    def is_free(self, model: Model) -> bool:
        """See `ports.LiveRunnerDesk`."""
        with self.till.refusing():
            return self.till.is_free(self.till.challenges.price(model))

    async def challenge(self, asked: DeskRequest, model: Model) -> Challenge:
        """See `ports.LiveRunnerDesk`."""
        with self.till.refusing():
            payer = read_payer(asked.job.header(b"livepeer-payer-address") or b"")
            async with in_time():
                return await self.till.challenges.new(model, payer)

    async def top_up(self, asked: DeskRequest, slug: str, manifest: str) -> Challenge:
        """See `ports.LiveRunnerDesk`."""
        with self.till.refusing(Occasion.TOP_UP):
            async with in_time():
                return await self._top_up(asked, self._to_be_paid(slug, manifest))

    async def refresh(self, asked: DeskRequest) -> Challenge:
        """See `ports.LiveRunnerDesk`."""
        with self.till.refusing(Occasion.TOP_UP):
            payer, id = _read_refresh(asked.body)
            manifest = self.till.ledger.manifest(id)
            if manifest is None or manifest.key.payer != payer:
                raise _unknown()
            async with in_time():
                return await self.till.challenges.again(manifest, self.till.charging.unpaid_s(manifest))

    def knows(self, manifest: str) -> bool:
        """See `ports.LiveRunnerDesk`."""
        return self.till.ledger.manifest(manifest) is not None

    def _to_be_paid(self, slug: str, id: str) -> SoldSession:
        """Return the session that can be topped up.

        Raises:
            PaymentRefused: there is none.
        """
        session = self.till.sold.find(id)
        if (session is None and id in self.till.charging.waiting) or (session is not None and session.pending):
            raise PaymentRefused(
                Fault.SESSION_PENDING, "cannot top the session up: its first payment is being looked at; try again"
            )
        if session is None or session.ending or session.key.slug != slug:
            raise _unknown()
        return session

    async def _top_up(self, asked: DeskRequest, session: SoldSession) -> Challenge:
        manifest = self.till.ledger.manifest(session.id)
        if manifest is None or manifest.fixed:
            raise PaymentRefused(
                Fault.SESSION_FIXED, "cannot top the session up: it costs nothing, or was paid for as a whole"
            )
        paid = self.till.read(asked.job, session.key.slug)
        if paid.manifest != session.id or manifest.key.payer != paid.payment.sender:
            raise PaymentRefused(
                Fault.MANIFEST_DIFFERS, "cannot top the session up: the segment credentials are of another session"
            )
        asked.limit_payer(f"0x{paid.payment.sender.hex()}")
        expected = Expected(LIVE_RUNNER, self.till.payments.recipient, paid.payment.sender, price=manifest.price)
        taken = await self.till.payments.judge(paid.payment, expected)
        await self.till.payments.book(taken, LIVE_RUNNER, manifest.key, manifest.model)
        self.till.sold.touch(session)
        self.till.charging.paid(session.account)
        log.debug("session_topped_up", session=session.id, tickets=len(taken.nonces), wei=rounded(taken.credit))
        return await self._after(manifest, taken)

    async def _after(self, manifest: Manifest, taken: Taken) -> Challenge:
        """Return fresh terms; where none can be made, those of the payment, which was taken all the same."""
        assert taken.terms is not None
        try:
            return await self.till.challenges.again(manifest)
        except PaymentRefused:
            return self.till.challenges.worded(manifest, taken.terms)


def _read_refresh(body: bytes) -> tuple[bytes, str]:
    """Return payer and manifest.

    Raises:
        PaymentRefused.
    """
    try:
        read = json.loads(body)
        sender, id = (read[name] for name in ("sender", "manifest_id"))
        payer = read_address(sender)
    except (ValueError, RecursionError, KeyError, TypeError) as exc:
        raise PaymentRefused(Fault.REFRESH_BODY, _WANTED) from exc
    if payer is None or not isinstance(id, str):
        raise PaymentRefused(Fault.REFRESH_BODY, _WANTED)
    return payer, id


_WANTED = 'cannot make new terms: the body must be {"sender": "0x...", "manifest_id": "..."}'


def _unknown() -> PaymentRefused:
    return PaymentRefused(Fault.SESSION_UNKNOWN, "cannot find the session: none of this name lives here for this payer")
