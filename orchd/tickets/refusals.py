"""A refused payment as a hook's answer, and counted. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from orchd.errors import Code
from orchd.hooks.refusal import Refusal
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.schemes import Occasion, Scheme

CODES = {
    400: Code.BAD_REQUEST,
    402: Code.PAYMENT_REQUIRED,
    403: Code.FORBIDDEN,
    404: Code.STREAM_UNKNOWN,
    409: Code.STREAM_RUNNING,
    431: Code.HEADER_TOO_LARGE,
    503: Code.HOOK_REFUSED,
}
"""What log and metrics call an answer with this status; the caller is told the fault itself."""


class CountsRefusals(Protocol):
    """See `tickets.metrics.PaymentCollector`."""

    def refused(self, scheme: str, fault: Fault) -> None:
        """Count a payment, or a request for terms, that was refused."""


@contextmanager
def refusing(
    counts: CountsRefusals,
    scheme: Scheme,
    elsewhere: Collection[Fault] = (),
    occasion: Occasion = Occasion.START,
) -> Iterator[None]:
    """Count what is refused, and make it an answer.

    Args:
        elsewhere: faults that are told with 503 here: the caller may try another orchestrator.
        occasion: when it is paid.

    Raises:
        Refusal: in place of a `PaymentRefused`.
    """
    try:
        yield
    except PaymentRefused as why:
        status = 503 if why.fault in elsewhere else scheme.status(why.fault.blame, occasion)
        raise refusal(counts, scheme, why, status=status) from why


def refusal(
    counts: CountsRefusals,
    scheme: Scheme,
    why: PaymentRefused,
    *,
    status: int | None = None,
    body: Mapping[str, Any] | None = None,
) -> Refusal:
    """Count what is refused, and return the answer.

    Args:
        status: None = that of the scheme at the start.
        body: as of `Refusal`.
    """
    counts.refused(scheme.name, why.fault)
    status = status or scheme.status(why.fault.blame)
    return Refusal(status, why.message, code=CODES[status], reason=why.fault, body=body)
