"""A refused payment as a hook's answer. Pure."""

from __future__ import annotations

from orchd.errors import Code
from orchd.hooks.refusal import Refusal
from orchd.tickets.validation.faults import PaymentRefused
from orchd.tickets.validation.schemes import Occasion, Scheme

CODES = {
    400: Code.BAD_REQUEST,
    402: Code.PAYMENT_REQUIRED,
    403: Code.FORBIDDEN,
    431: Code.HEADER_TOO_LARGE,
    503: Code.HOOK_REFUSED,
}
"""What log and metrics call an answer with this status; the caller is told the fault itself."""


def as_refusal(why: PaymentRefused, scheme: Scheme, occasion: Occasion = Occasion.START) -> Refusal:
    """Return what the caller is told."""
    return refusal(why, scheme.status(why.fault.blame, occasion))


def refusal(why: PaymentRefused, status: int) -> Refusal:
    """Return what the caller is told, with a status of the door's own."""
    return Refusal(status, why.message, code=CODES[status], reason=why.fault)
