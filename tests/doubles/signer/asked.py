"""What a client asks of `/generate-live-payment`, read as the programs read it. Pure."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from orchd.tickets.validation.messages import OrchestratorInfo
from orchd.tickets.validation.wire import WireError, decode
from tests.doubles.shared import go_json
from tests.doubles.shared.go_json import GoJsonError, Number
from tests.doubles.signer.rules import Rules, Why

UNITS = {"live": "seconds", "fixed": "fixed", "lv2v": "720p"}
"""By type of payment: the unit in which a price for it is named."""


class Refused(Exception):
    """The signer does not sign."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


def refusal(rules: Rules, why: Why, **filled: object) -> Refused:
    """Return what to raise for a reason that every program minds."""
    status, text = rules.refusals[why]
    return Refused(status, text.format(**filled))


def refuse(rules: Rules, why: Why, **filled: object) -> None:
    """Raise Refused, if this program minds."""
    if why in rules.refusals:
        raise refusal(rules, why, **filled)


@dataclass(frozen=True, slots=True)
class MaxPrice:
    """Most that the client lets its signer pay."""

    price: Fraction
    currency: str
    unit: str


@dataclass(frozen=True, slots=True)
class Asked:
    """A request.

    Attributes:
        info: the terms.
        type: of payment, one of `UNITS`.
        manifest: session to pay for; empty = the client does not say.
        state: as it came; None = a first payment.
        max_price: None = no limit.
    """

    info: OrchestratorInfo
    type: str
    manifest: str
    app: str
    state: dict[str, Any] | None
    max_price: MaxPrice | None


def read_asked(body: bytes, rules: Rules) -> Asked:
    """Return the request.

    Raises:
        Refused: it can't be read, or names no terms or no type.
    """
    try:
        found = go_json.decode(body.decode(), stream=True)
        texts = {name: go_json.string(go_json.field(found, name), name) for name in ("type", "ManifestID", "app")}
        terms = _base64(go_json.string(go_json.field(found, "orchestrator"), "orchestrator"))
        max_price = _max_price(go_json.field(found, "maxPrice"))
    except (GoJsonError, UnicodeDecodeError, AttributeError) as error:
        raise refusal(rules, Why.UNREADABLE, detail=error) from error
    if not terms:
        raise refusal(rules, Why.NO_ORCHESTRATOR)
    try:
        info = decode(OrchestratorInfo, terms)
    except WireError as error:
        raise refusal(rules, Why.NOT_PROTOBUF) from error
    kind = texts["type"]
    if not kind:
        raise refusal(rules, Why.NO_TYPE)
    if kind not in rules.types:
        raise refusal(rules, Why.UNKNOWN_TYPE)
    return Asked(info, kind, texts["ManifestID"], texts["app"], go_json.field(found, "state"), max_price)


def _base64(text: str) -> bytes:
    """Return the bytes; raises GoJsonError in Go's words."""
    whole = re.match(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", text)
    assert whole is not None
    if whole.end() < len(text):
        wrong = re.search(r"[^A-Za-z0-9+/]", text)
        at = wrong.start() if wrong else len(text)
        raise GoJsonError(f"illegal base64 data at input byte {at}")
    return base64.b64decode(text)


def _max_price(found: Any) -> MaxPrice | None:
    if found is None:
        return None
    price = go_json.field(found, "price")
    try:
        number = Fraction(Decimal(price or "0"))
    except InvalidOperation:
        shown = json.dumps(str(price) if isinstance(price, Number) else json.dumps(price))
        raise GoJsonError(f"json: invalid number literal, trying to unmarshal {shown} into Number") from None
    texts = (go_json.string(go_json.field(found, name), name) for name in ("currency", "unit"))
    return MaxPrice(number, *texts)
