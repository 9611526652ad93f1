"""What an operator's server says of a job, as the hook `webhook` understands it. Pure.

{"allow": true, "payer": "acme", "price": {"wei": "83333/2", "unit": "second"}, "limit": 3}
{"allow": false, "status": 402, "reason": "no_contract", "message": "cannot serve you: ask sales@example.org"}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from orchd.domain.money import PriceUnit
from orchd.errors import Code
from orchd.hooks.job import Job
from orchd.hooks.refusal import Refusal

_WEI = re.compile(r"[0-9]{1,78}(/[1-9][0-9]{0,77})?")
DENIED = "webhook_denied"


class BadAnswer(Exception):
    """An answer that says nothing that can be used; the text says why."""


@dataclass(frozen=True, slots=True)
class WebhookAnswer:
    """What was answered.

    Attributes:
        status, reason, message: of the refusal; status 0 = the job is allowed.
        payer: empty = none was named.
        price: wei per unit; None = the model's own.
        limit: most sessions of the payer of this model at once; None = none.
    """

    status: int = 0
    reason: str = ""
    message: str = ""
    payer: str = ""
    price: tuple[Fraction, PriceUnit] | None = None
    limit: int | None = None

    def apply(self, job: Job) -> None:
        """Do what it says.

        Raises:
            Refusal: the job is denied.
            ValueError: another hook has named another payer.
        """
        if self.status:
            raise self.refusal()
        if self.payer:
            job.set_payer(self.payer)
        if self.price is not None:
            job.set_price(*self.price)
        if self.limit is not None:
            job.lower_limit(self.limit)

    def refusal(self) -> Refusal:
        """Return what a denied job gets.

        Raises:
            ValueError: it can't be an answer.
        """
        code = Code.PAYMENT_REQUIRED if self.status == 402 else Code.HOOK_REFUSED
        return Refusal(self.status, self.message, reason=self.reason, code=code)


def read_answer(body: bytes) -> WebhookAnswer:
    """Return what a body says. Members that are not known are left out.

    Raises:
        BadAnswer.
    """
    try:
        said = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise BadAnswer("its answer is not JSON") from exc
    if not isinstance(said, dict) or type(said.get("allow")) is not bool:
        raise BadAnswer('its answer has no member "allow" that is true or false')
    try:
        return _allowed(said) if said["allow"] else _denied(said)
    except (TypeError, ValueError) as exc:
        raise BadAnswer(f"its answer can't be used: {exc}") from exc


def _denied(said: Mapping[str, Any]) -> WebhookAnswer:
    message = _text(said, "message", "cannot serve the job: the operator has refused it")
    answer = WebhookAnswer(said.get("status", 403), _text(said, "reason", DENIED), message)
    answer.refusal()  # Checks all of it.
    return answer


def _allowed(said: Mapping[str, Any]) -> WebhookAnswer:
    limit = said.get("limit")
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ValueError("limit is not a whole number")
    return WebhookAnswer(payer=_text(said, "payer", ""), price=_price(said.get("price")), limit=limit)


def _price(said: object) -> tuple[Fraction, PriceUnit] | None:
    if said is None:
        return None
    if not isinstance(said, dict):
        raise ValueError("price is not an object")
    wei = said.get("wei")
    text = str(wei) if type(wei) is int else wei
    if not isinstance(text, str) or not _WEI.fullmatch(text):
        raise ValueError('price.wei is neither a whole number nor text such as "7/2"')
    return Fraction(text), PriceUnit(said.get("unit", PriceUnit.SECOND.value))


def _text(said: Mapping[str, Any], name: str, default: str) -> str:
    value = said.get(name, default)
    if not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value
