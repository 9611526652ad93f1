"""Challenges: terms of payment, and the session that they are for. None of them is remembered.

Source: docs/protocol/paid-live-runner.md, 4 and 12. All that must be known of a session that has paid nothing yet is in
its auth token, under our HMAC; the terms need no memory either.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from fractions import Fraction

from orchd.domain.model import Model
from orchd.domain.random_names import new_session_id
from orchd.tickets.ledger.ports import Ledger, LedgerKey, Manifest
from orchd.tickets.live_runner.listed_prices import is_paid
from orchd.tickets.live_runner.ports import Challenge
from orchd.tickets.payments import Payments
from orchd.tickets.prices import WorkPrice
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.grants import Grant, make_auth_token
from orchd.tickets.validation.messages import OrchestratorInfo, QuotedPrice
from orchd.tickets.validation.schemes import LIVE_RUNNER
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.wire import encode

AUTH_VALID_S = 3600
"""Seconds for which an auth token holds. Signers ask for a new one three minutes before."""


class Challenges:
    """Makes them.

    Args:
        ledger: holds the secrets.
        service: URL below which payers reach this orchd.
        price: what a new session of a model is quoted, by the payer's address.
        clock: Unix time, seconds.
    """

    def __init__(
        self,
        payments: Payments,
        ledger: Ledger,
        service: str,
        price: Callable[[Model, str], WorkPrice],
        clock: Callable[[], float],
    ) -> None:
        self._payments = payments
        self._ledger = ledger
        self._service = service
        self._price = price
        self._clock = clock

    def price(self, model: Model, payer: str = "") -> WorkPrice:
        """Return what a new session of a model costs for a payer; empty = for everybody.

        Raises:
            PaymentRefused: its price is not known, or can't be said.
        """
        return self._price(model, payer)

    def now(self) -> int:
        """Return Unix time, whole seconds."""
        return int(self._clock())

    def check_price(self, model: Model, manifest: Manifest) -> None:
        """Check that a new session may still begin at a manifest's price: new terms for it can be had for ever.

        Raises:
            PaymentRefused: it was issued longer ago than any challenge holds, and the price was raised.
        """
        if self.now() - manifest.issued_at < AUTH_VALID_S:
            return
        price = self._price(model, f"0x{manifest.key.payer.hex()}")
        if price.wei and (price.fixed is not manifest.fixed or not is_paid(price.wei, int(manifest.price))):
            raise PaymentRefused(
                Fault.PRICE_RAISED,
                f"cannot begin the session: its price of {manifest.price} wei was raised to {price.wei}",
            )

    async def new(self, model: Model, payer: bytes) -> Challenge:
        """Return a challenge for a new session.

        Args:
            payer: 20 bytes; nobody has proven to be that.

        Raises:
            PaymentRefused: there is no price, or no terms can be made for this payer now.
        """
        self._payments.require_fresh()
        price = self._price(model, f"0x{payer.hex()}")
        if not price.wei:  # For this payer alone: nobody has shown to be that.
            price = self._price(model, "")
        if not price.wei:
            raise PaymentRefused(Fault.PRICE_UNKNOWN, f"cannot make terms of payment: {model.key} is free")
        manifest = Manifest(
            key=LedgerKey(LIVE_RUNNER.name, payer, new_session_id()),
            runner=model.key.slug,
            model=model.key,
            price=Fraction(price.wei),
            fixed=price.fixed,
            persistent=model.persistent,
            issued_at=self.now(),
        )
        return await self.again(manifest)

    async def again(self, manifest: Manifest, unpaid_s: int = 0) -> Challenge:
        """Return a challenge with new terms for a session, at its price.

        Args:
            unpaid_s: whole seconds since its last payment.

        Raises:
            PaymentRefused: no terms can be made for its payer now.
        """
        price = WorkPrice(int(manifest.price), manifest.fixed)
        terms = await self._payments.terms(LIVE_RUNNER, manifest.key.payer, price, "", unpaid_s)
        return self.worded(manifest, terms)

    def worded(self, manifest: Manifest, terms: TicketTerms) -> Challenge:
        """Return the challenge with these terms and a new auth token."""
        info = OrchestratorInfo(
            transcoder=self._service,
            ticket_params=terms.on_wire(),
            price_info=QuotedPrice(int(manifest.price), 1),
            address=terms.recipient,
            auth_token=make_auth_token(self._ledger.auth_key, _grant(manifest), manifest.id, self.now() + AUTH_VALID_S),
        )
        return {
            "payment_params": base64.b64encode(encode(info)).decode(),
            "orchestrator": self._service,
            "manifest_id": manifest.id,
            "payment_url": f"{self._service}/apps/{manifest.runner}/session/{manifest.id}/payment",
        }


def _grant(manifest: Manifest) -> Grant:
    return Grant(
        runner=manifest.runner,
        payer=manifest.key.payer,
        price=manifest.price,
        fixed=manifest.fixed,
        single_shot=not manifest.persistent,
        issued_at=manifest.issued_at,
    )
