"""What the desk and the hook take payments with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
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
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.schemes import LIVE_RUNNER, Occasion

ANSWER_S = 2.0
"""Longest time for one answer: clients wait for 5 s in all, and their request may have taken some of it."""


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


@asynccontextmanager
async def in_time() -> AsyncIterator[None]:
    """Do what a client waits for within `ANSWER_S`.

    Raises:
        PaymentRefused: it takes longer.
    """
    try:
        async with asyncio.timeout(ANSWER_S):
            yield
    except TimeoutError as exc:
        raise PaymentRefused(
            Fault.ANSWER_LATE, f"cannot answer within {ANSWER_S:g} s: an RPC server or the disk is too slow; try again"
        ) from exc
