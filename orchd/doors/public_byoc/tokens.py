"""What a gateway is told before it pays: price, terms, free slots (docs/protocol/byoc.md, 3)."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.doors.own import Answered, OwnRequest
from orchd.doors.routes import Served
from orchd.hooks.terms import Terms
from orchd.tickets.ledger.ports import LedgerKey
from orchd.tickets.paid_sessions import PaidSessions
from orchd.tickets.payments import Payments
from orchd.tickets.prices import WorkPrice, quote
from orchd.tickets.refusals import refusing
from orchd.tickets.unsigned import is_unsigned
from orchd.tickets.validation.credentials import SignedBy, check_signed, read_payer_credentials
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.schemes import BYOC
from orchd.tickets.validation.tickets import TicketTerms

MAX_INT64 = 2**63 - 1
FREE = WorkPrice(0)


class SlotsNow(Protocol):
    """See `sessions.table.SessionTable`."""

    def could_begin(self, key: ModelKey) -> int:
        """Return how many sessions could begin now."""


@dataclass(frozen=True, slots=True)
class TokenDesk:
    """Tells payers their terms, new ones each time: two payments on the same terms would use the same nonces.

    Attributes:
        payments: makes them.
        sessions: what a payer has in hand.
        price: name and price of a model for a payer.
        slots: which are free.
        url: where gateways send their jobs.
    """

    payments: Payments
    sessions: PaidSessions
    price: Callable[[Model, str], Terms]
    slots: SlotsNow
    url: str

    async def answer(self, served: Served, asked: OwnRequest) -> Answered:
        """Answer `GET /process/token`.

        Raises:
            Refusal: 400 the request is not as it must be; 503 it is, and there are no terms now.
        """
        job = asked.job
        with self.refusing():
            payer = read_payer_credentials(job.header(b"livepeer-eth-address") or b"")
            if self.payments.backed or not is_unsigned(payer):
                check_signed(payer)
            name = _capability(job.header(b"livepeer-capability"))
            asked.limit_payer(f"0x{payer.sender.hex()}")
            key = served.named(name)
            price = FREE if key is None else quote(self.price(served.models[key], f"0x{payer.sender.hex()}"))
            # Nothing was quoted for what is not sold, so those terms must not be good for it once it is.
            work = "" if key is None else name
            terms = await self.payments.terms(BYOC, payer.sender, price if self.payments.backed else FREE, work)
            token = self._token(payer, name, price, terms)
            if key is not None and (free := self.slots.could_begin(key)):
                token["available_capacity"] = free
        return Answered(200, (json.dumps(token) + "\n").encode())

    def refusing(self) -> AbstractContextManager[None]:
        """As `refusals.refusing`: a payer whose reserve is too small may try elsewhere."""
        return refusing(self.payments.counts, BYOC, elsewhere=(Fault.SENDER_FUNDS,))

    def _token(self, payer: SignedBy, name: str, price: WorkPrice, terms: TicketTerms) -> dict[str, Any]:
        """Return the members that there are for every capability, in go-livepeer's words; zeros are left out."""
        token: dict[str, Any] = {
            "sender_address": {"addr": payer.text, "sig": payer.sig},
            "ticket_params": as_json(terms),
            "price": {"pricePerUnit": price.wei, "pixelsPerUnit": 1} if price.wei else {"pixelsPerUnit": 1},
            "service_addr": self.url,
            "LastNonce": 0,
        }
        if price.wei and self.payments.backed:
            wei = self.sessions.spendable(LedgerKey(BYOC.name, payer.sender, name)).wei.__floor__()
            if wei:
                token["balance"] = max(-MAX_INT64, min(wei, MAX_INT64))
        return token


def as_json(terms: TicketTerms) -> dict[str, Any]:
    """Return terms as a token holds them: numbers are big-endian bytes in base64, and empty ones are left out."""
    sent = terms.on_wire()
    shown = {
        "recipient": sent.recipient,
        "face_value": sent.face_value,
        "win_prob": sent.win_prob,
        "recipient_rand_hash": sent.recipient_rand_hash,
        "seed": sent.seed,
        "expiration_block": sent.expiration_block,
    }
    return {
        **{name: base64.b64encode(value).decode() for name, value in shown.items() if value},
        "expiration_params": {
            "creation_round": terms.creation_round,
            "creation_round_block_hash": base64.b64encode(terms.round_hash).decode(),
        },
    }


def _capability(header: bytes | None) -> str:
    if not header:
        raise PaymentRefused(
            Fault.CAPABILITY_MISSING, "cannot make terms of payment: Livepeer-Capability must name a capability"
        )
    return header.decode("utf-8", "replace")
