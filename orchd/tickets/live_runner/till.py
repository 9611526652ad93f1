"""What the desk and the hook take payments with."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from orchd.domain.sold import SoldSessions
from orchd.hooks.job import Job
from orchd.tickets.ledger.ports import Ledger
from orchd.tickets.live_runner.challenges import Challenges
from orchd.tickets.live_runner.charging import Charging
from orchd.tickets.live_runner.credentials import Paid, read_paid
from orchd.tickets.payments import Payments
from orchd.tickets.prices import WorkPrice
from orchd.tickets.refusals import refusing
from orchd.tickets.validation.schemes import LIVE_RUNNER, Occasion


@dataclass(frozen=True, slots=True)
class Till:
    """All of it.

    Attributes:
        trusting: off chain, what has a price is free. Else it is refused there.
    """

    payments: Payments
    ledger: Ledger
    sold: SoldSessions
    challenges: Challenges
    charging: Charging
    trusting: bool

    def is_free(self, price: WorkPrice) -> bool:
        """See `Payments.is_free`."""
        return self.payments.is_free(price, trusting=self.trusting)

    def read(self, job: Job, runner: str) -> Paid:
        """Return the payment that a request brings; see `read_paid`."""
        segment, payment = headers(job)
        return read_paid(segment, payment, self.ledger.auth_keys, runner=runner, now=self.challenges.now())

    def refusing(self, occasion: Occasion = Occasion.START) -> AbstractContextManager[None]:
        """As `refusals.refusing`."""
        return refusing(self.payments.counts, LIVE_RUNNER, occasion=occasion)


def headers(job: Job) -> tuple[bytes, bytes]:
    """Return segment and payment of a request; empty = it has none."""
    return job.header(b"livepeer-segment") or b"", job.header(b"livepeer-payment") or b""
