"""Payments that are long to judge, beside those of others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from typing import Any, cast

from orchd.exposition import MetricsRegistry
from orchd.tasks import spawn
from orchd.threads import DaemonThreads
from orchd.tickets.metrics import PaymentCollector
from orchd.tickets.payments import Payments
from orchd.tickets.prices import WorkPrice
from orchd.tickets.validation.payment import read_payment
from orchd.tickets.validation.schemes import BYOC
from orchd.tickets.validation.validate import Expected, Taken
from tests.fakes.ledger import FakeLedger
from tests.tickets.till import PRICE, RULES, FakeChain
from tests.tickets.validation.made import OTHER, PAYER
from tests.tickets.validation.sender import Signer, header
from tests.virtual_time import settle, virtual_time


class OneThread:
    """Makes a call when it is told to.

    Attributes:
        asked: the calls that it was given, of those who wait for it.
    """

    def __init__(self) -> None:
        self.asked: deque[asyncio.Future[None]] = deque()

    async def run(self, work: Callable[[], Any]) -> Any:
        told = asyncio.get_running_loop().create_future()
        self.asked.append(told)
        await told
        return work()

    def work(self) -> None:
        """Make the call that came first."""
        self.asked.popleft().set_result(None)


@virtual_time
async def test_nobody_waits_for_more_than_one_long_payment_of_each_other_payer() -> None:
    thread = OneThread()
    counts = PaymentCollector(MetricsRegistry())
    payments = Payments(FakeChain(), FakeLedger(), RULES, counts, cast(DaemonThreads, thread), at_once=1)

    async def judge(payer: Signer) -> Taken:
        terms = await payments.terms(BYOC, payer.address, WorkPrice(PRICE), "paint")
        payment = read_payment(header(payer.payment(terms, [1, 2], Fraction(PRICE))))
        return await payments.judge(payment, Expected(BYOC, payments.recipient, payer.address, "paint"))

    many = [spawn(judge(PAYER), name="many") for _ in range(5)]
    await settle()
    one = spawn(judge(OTHER), name="one")
    await settle()
    assert len(thread.asked) == 2, "one of each payer"
    many[3].cancel()
    thread.work()
    thread.work()
    await settle()
    assert one.done()
    assert one.result().nonces == (1, 2)
    for _ in range(3):
        assert len(thread.asked) == 1
        thread.work()
        await settle()
    assert [task.cancelled() or task.result().payer == PAYER.address for task in many] == [True] * 5
    assert many[3].cancelled()
