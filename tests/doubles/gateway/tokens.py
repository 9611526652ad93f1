"""A token: what an orchestrator answers at `GET /process/token`. Pure. Source: payments.md 10.3."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchd.tickets.validation.messages import ExpirationParams, QuotedPrice, TicketParams


@dataclass(frozen=True, slots=True)
class Token:
    """What a gateway reads of a token.

    Attributes:
        params: terms; None = there are none.
        price: wei per second.
        balance: wei that the orchestrator says it owes.
        service_addr: where the job goes.
        capacity: free slots.
    """

    params: TicketParams | None
    price: QuotedPrice
    balance: int
    service_addr: str
    capacity: int


def read_token(text: str) -> Token:
    """Return what a token says; what is absent is zero.

    Raises:
        ValueError: it is not one.
    """
    said = json.loads(text)
    try:
        params = params_of(said["ticket_params"]) if said.get("ticket_params") else None
        price = price_of(said["price"])
        return Token(
            params, price, said.get("balance", 0), said.get("service_addr", ""), said.get("available_capacity", 0)
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read the token: {error!r}") from error


def params_of(token: Mapping[str, Any]) -> TicketParams:
    """Return the terms that `ticket_params` of a token has as JSON."""
    names = ("recipient", "face_value", "win_prob", "recipient_rand_hash", "seed", "expiration_block")
    recipient, face_value, win_prob, commitment, seed, block = (base64.b64decode(token.get(name, "")) for name in names)
    made = token.get("expiration_params") or {}
    when = ExpirationParams(made.get("creation_round", 0), base64.b64decode(made.get("creation_round_block_hash", "")))
    return TicketParams(recipient, face_value, win_prob, commitment, seed, block, when)


def price_of(token: Mapping[str, int]) -> QuotedPrice:
    """Return the price that `price` of a token has as JSON."""
    return QuotedPrice(token.get("pricePerUnit", 0), token.get("pixelsPerUnit", 0))
