"""The two payment schemes, BYOC and Live Runner, as one table of rules. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from orchd.tickets.validation.faults import Blame

MAX_NONCES = 600
"""Most tickets on one commitment."""
MAX_TICKET_VALUE = 3 * 10**12
"""Wei: senders with default limits refuse tickets that are worth more."""
MAX_BATCH_VALUE = 2 * 10**13
"""Wei: they refuse to sign tickets together worth more."""


class Rounding(StrEnum):
    """How time becomes units: a second is charged when it begins, or when it is over."""

    STARTED = "started"
    WHOLE = "whole"


class Occasion(StrEnum):
    """When a payment comes: with a request for work, or for work that goes on."""

    START = "start"
    TOP_UP = "top_up"


@dataclass(frozen=True, slots=True)
class Scheme:
    """How payments of one scheme are worded, checked and charged.

    Attributes:
        name: enters the terms, so that those of one scheme are worth nothing in the other.
        min_tickets: of a payment; with 0, one without terms is taken, too, for no credit.
        max_tickets: of a payment.
        nonces: the lowest and the highest.
        whole_price: the expected price must have the denominator 1.
        bound_to_work: terms are good for one capability alone; else for all sessions of the payer.
        rounding: of time that is charged.
        minimum_s: seconds that the balance must cover before work begins, where time is charged.
        status: of the answer to a refusal, by who can do what: at the start, and to a top-up.
    """

    name: str
    min_tickets: int
    max_tickets: int
    nonces: tuple[int, int]
    whole_price: bool
    bound_to_work: bool
    rounding: Rounding
    minimum_s: int
    statuses: Mapping[Blame, tuple[int, int]]

    def status(self, blame: Blame, occasion: Occasion = Occasion.START) -> int:
        """Return the HTTP status of a refusal."""
        start, top_up = self.statuses[blame]
        return start if occasion is Occasion.START else top_up


def _always(status: int) -> tuple[int, int]:
    return status, status


BYOC = Scheme(
    name="byoc",
    min_tickets=0,
    max_tickets=MAX_NONCES,
    nonces=(0, (1 << 32) - 1),
    whole_price=False,
    bound_to_work=True,
    rounding=Rounding.STARTED,
    minimum_s=60,
    statuses={
        Blame.PAYER_UNNAMED: _always(400),
        Blame.UNREADABLE: _always(400),
        Blame.TOO_LONG: _always(431),
        Blame.CREDENTIALS: _always(400),
        Blame.FOREIGN: _always(403),
        Blame.MANIFEST: _always(403),
        Blame.PAYMENT: _always(402),
        Blame.STALE: _always(503),  # A gateway asks for a new token, or goes elsewhere.
        Blame.FUNDS: _always(402),
        Blame.SHORT: _always(402),
        Blame.NO_SESSION: _always(404),
        Blame.SESSION: _always(409),
        Blame.OURS: _always(503),
    },
)

LIVE_RUNNER = Scheme(
    name="live-runner",
    min_tickets=1,
    max_tickets=100,
    nonces=(1, MAX_NONCES - 1),
    whole_price=True,
    bound_to_work=False,
    rounding=Rounding.WHOLE,
    minimum_s=0,
    statuses={
        Blame.PAYER_UNNAMED: _always(402),
        Blame.UNREADABLE: _always(400),
        Blame.TOO_LONG: _always(431),
        Blame.CREDENTIALS: _always(403),
        Blame.FOREIGN: _always(403),
        Blame.MANIFEST: (402, 403),
        Blame.PAYMENT: _always(403),
        Blame.STALE: (402, 503),  # A new challenge; a top-up's 4xx would end the funding for good.
        Blame.FUNDS: _always(400),
        Blame.SHORT: _always(402),
        Blame.NO_SESSION: _always(404),
        Blame.SESSION: _always(409),
        Blame.OURS: _always(503),
    },
)
