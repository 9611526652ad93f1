"""A refused payment as a hook's answer, and counted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Protocol

from orchd.errors import Code
from orchd.hooks.refusal import Refusal
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.schemes import Scheme

CODES = {
    400: Code.BAD_REQUEST,
    402: Code.PAYMENT_REQUIRED,
    403: Code.FORBIDDEN,
    431: Code.HEADER_TOO_LARGE,
    503: Code.HOOK_REFUSED,
}
"""What log and metrics call an answer with this status; the caller is told the fault itself."""


class CountsRefusals(Protocol):
    """See `tickets.metrics.PaymentCollector`."""

    def refused(self, scheme: str, fault: Fault) -> None:
        """Count a payment, or a request for terms, that was refused."""


@contextmanager
def refusing(counts: CountsRefusals, scheme: Scheme, elsewhere: Collection[Fault] = ()) -> Iterator[None]:
    """Count what is refused, and make it an answer.

    Args:
        elsewhere: faults that are told with 503 here: the caller may try another orchestrator.

    Raises:
        Refusal: in place of a `PaymentRefused`.
    """
    try:
        yield
    except PaymentRefused as why:
        counts.refused(scheme.name, why.fault)
        status = 503 if why.fault in elsewhere else scheme.status(why.fault.blame)
        raise Refusal(status, why.message, code=CODES[status], reason=why.fault) from why
