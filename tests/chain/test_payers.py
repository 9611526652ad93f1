"""What backs payers: read once for many who ask, followed while they pay, and bounded in number and time."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest

from orchd.chain.payers import (
    DROP_S,
    IDLE_S,
    LEARN_S,
    MOST_LEARNED,
    MOST_PAYERS,
    MOST_STRANGERS,
    TOGETHER,
    PayerCache,
)
from orchd.domain.chain import PayerFacts
from orchd.rpc.ports import RpcUnanswered
from orchd.tasks import spawn
from tests.virtual_time import settle, virtual_time

FRESH_S, STALE_S = 65.0, 600.0
A, B = b"\xaa" * 20, b"\xbb" * 20


class FakeBroker:
    """Reads payers.

    Attributes:
        asked: the addresses of each reading.
        down: no server answers.
        slow_s: what a reading takes.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[bytes, ...]] = []
        self.deposit = 100
        self.down = False
        self.slow_s = 0.0

    async def read(self, addresses: Sequence[bytes], hurry: bool) -> Mapping[bytes, PayerFacts]:
        self.asked.append(tuple(addresses))
        deposit = self.deposit
        await asyncio.sleep(self.slow_s)
        if self.down:
            raise RpcUnanswered([("a", "no answer within 5 s")])
        return dict.fromkeys(addresses, facts(deposit))


def facts(deposit: int, claimed_by_us: int = 0) -> PayerFacts:
    return PayerFacts(deposit, 1000, claimed=0, claimed_by_us=claimed_by_us, pool_size=10, withdraw_round=0)


def payers_of(broker: FakeBroker) -> PayerCache:
    return PayerCache(broker.read, lambda: not broker.down, FRESH_S, STALE_S)


def address(number: int) -> bytes:
    return number.to_bytes(20, "big")


@virtual_time
async def test_a_payer_is_read_when_somebody_waits_for_it_and_then_known() -> None:
    broker = FakeBroker()
    payers = payers_of(broker)
    assert payers.get(A) is None
    assert await payers.learn(A) == payers.get(A) == facts(100)
    await payers.learn(A)
    assert broker.asked == [(A,)]


@virtual_time
async def test_many_who_ask_at_once_ask_once() -> None:
    broker = FakeBroker()
    broker.slow_s = 1
    payers = payers_of(broker)
    assert await asyncio.gather(*(payers.learn(A) for _ in range(100))) == [facts(100)] * 100
    assert broker.asked == [(A,)]


@virtual_time
async def test_many_payers_share_requests() -> None:
    broker = FakeBroker()
    broker.slow_s = 0.1
    payers = payers_of(broker)
    await asyncio.gather(*(payers.learn(address(number)) for number in range(TOGETHER * 4)))
    assert len(broker.asked) <= 5
    assert len({one for each in broker.asked for one in each}) == TOGETHER * 4


@virtual_time
async def test_nobody_waits_longer_than_two_seconds_and_the_answer_is_used_later() -> None:
    broker, loop = FakeBroker(), asyncio.get_running_loop()
    broker.slow_s = 3
    payers = payers_of(broker)
    assert await payers.learn(A) is None
    assert loop.time() == LEARN_S
    await asyncio.sleep(1)
    assert payers.get(A) == facts(100)


@virtual_time
async def test_how_many_are_asked_about_at_once_is_bounded() -> None:
    broker, loop = FakeBroker(), asyncio.get_running_loop()
    broker.slow_s = 10**6
    payers = payers_of(broker)
    waiting = [spawn(payers.learn(address(number)), name="learn") for number in range(MOST_LEARNED)]
    await settle()
    assert await payers.learn(A) is None
    assert loop.time() == 0, "one more is refused at once"
    assert len(broker.asked) == 2
    await asyncio.gather(*waiting)
    await payers.close()


@virtual_time
async def test_a_payer_whose_facts_are_not_fresh_is_read_again_by_who_waits() -> None:
    broker = FakeBroker()
    payers = payers_of(broker)
    await payers.learn(A)
    broker.deposit = 50
    await asyncio.sleep(FRESH_S)
    assert await payers.learn(A) == facts(100)
    await asyncio.sleep(1)
    assert payers.get(A) is None
    assert await payers.learn(A) == facts(50)


@virtual_time
async def test_who_waits_gets_older_facts_where_a_payer_alone_can_not_be_read() -> None:
    broker = FakeBroker()
    payers = PayerCache(broker.read, lambda: True, FRESH_S, STALE_S)
    await payers.learn(A)
    broker.down = True
    await asyncio.sleep(FRESH_S + 1)
    assert payers.get(A) is None
    assert await payers.learn(A) == facts(100)


@virtual_time
async def test_while_no_server_answers_what_was_credited_since_counts_as_spent_and_old_facts_are_none() -> None:
    broker = FakeBroker()
    payers = payers_of(broker)
    await payers.learn(A)
    payers.credited(A, Fraction(59, 2))
    assert payers.get(A) == facts(100), "they are fresh"
    broker.down = True
    await asyncio.sleep(STALE_S)
    assert await payers.learn(A) == facts(70)
    payers.credited(A, Fraction(90))
    assert payers.get(A) == facts(0, claimed_by_us=20), "what the deposit does not cover is of our share of the reserve"
    await asyncio.sleep(1)
    assert await payers.learn(A) is None


@virtual_time
async def test_what_is_credited_while_the_answer_is_on_its_way_is_not_taken_to_be_in_it() -> None:
    broker = FakeBroker()
    payers = payers_of(broker)
    await payers.learn(A)
    payers.credited(A, Fraction(10))
    broker.slow_s = 1
    refreshing = spawn(payers.refresh(), name="refresh")
    await settle()
    payers.credited(A, Fraction(5))
    await refreshing
    broker.down = True
    await asyncio.sleep(FRESH_S)
    assert payers.get(A) == facts(95)


@virtual_time
async def test_those_who_pay_are_read_again_and_others_only_when_they_ask() -> None:
    broker = FakeBroker()
    payers = payers_of(broker)
    await payers.learn(A)
    await payers.learn(B)
    payers.credited(A, Fraction(1))
    broker.asked.clear()
    await payers.refresh()
    assert broker.asked == [(A,)]


@virtual_time
async def test_who_has_not_paid_for_a_while_is_read_no_more_and_dropped_later() -> None:
    broker = FakeBroker()
    payers = payers_of(broker)
    payers.credited(A, Fraction(1))
    await asyncio.sleep(IDLE_S + 1)
    await payers.refresh()
    assert (broker.asked, len(payers)) == ([], 1)
    await asyncio.sleep(DROP_S)
    await payers.refresh()
    assert len(payers) == 0


@virtual_time
async def test_a_payer_who_comes_back_is_followed_again() -> None:
    broker = FakeBroker()
    payers = payers_of(broker)
    payers.credited(A, Fraction(1))
    await asyncio.sleep(IDLE_S + 1)
    await payers.learn(A)
    broker.asked.clear()
    await payers.refresh()
    assert broker.asked == [(A,)]


@virtual_time
async def test_made_up_addresses_push_out_no_payer() -> None:
    broker = FakeBroker()
    payers = payers_of(broker)
    await payers.learn(A)
    payers.credited(A, Fraction(1))
    for number in range(MOST_STRANGERS + 1):
        await payers.learn(address(number))
    assert payers.get(A) == facts(100)
    assert payers.get(address(0)) is None, "the one that was asked about longest ago"
    assert payers.get(address(1)) == facts(100)


@virtual_time
async def test_the_number_of_payers_is_bounded_and_who_paid_longest_ago_goes_first() -> None:
    payers = payers_of(FakeBroker())
    for number in range(MOST_PAYERS + 1):
        payers.credited(address(number), Fraction(1))
    assert len(payers) == MOST_PAYERS


@virtual_time
async def test_a_failure_is_told_to_who_follows_and_not_to_who_waits() -> None:
    broker = FakeBroker()
    broker.down = True
    payers = payers_of(broker)
    assert await payers.learn(A) is None
    payers.credited(A, Fraction(1))
    with pytest.raises(RpcUnanswered):
        await payers.refresh()
    broker.down = False
    assert await payers.learn(A) == facts(100)


@virtual_time
async def test_an_older_answer_that_comes_later_changes_nothing() -> None:
    broker = FakeBroker()
    payers = payers_of(broker)
    payers.credited(A, Fraction(1))
    broker.slow_s = 1.5
    slow = spawn(payers.refresh(), name="refresh")
    await asyncio.sleep(0.1)
    broker.slow_s, broker.deposit = 0, 50
    assert await payers.learn(A) == facts(50)
    await slow
    assert payers.get(A) == facts(50)
