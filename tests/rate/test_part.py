"""The rate is read at once and from time to time; one that can't be read leaves the last one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from orchd import tasks
from orchd.errors import SettingsError
from orchd.rate.part import RATE_PERIOD_S, RatePart
from orchd.rpc.ports import RpcUnanswered
from tests.virtual_time import virtual_time


def word(number: int) -> str:
    return f"{number:064x}"


class Feed:
    """RPC servers of a chain with an aggregator; `price` None = none of them answers."""

    def __init__(self, price: int | None) -> None:
        self.price = price

    async def ask(self, calls: Sequence[Any], read: Any) -> Fraction:
        if self.price is None:
            raise RpcUnanswered([("rpc.example", "it does not answer")])
        fresh = 2**40  # In the far future: never too old.
        answer: Fraction = read(["0x" + word(0), "0x" + "".join(map(word, (1, self.price, 0, fresh, 1)))])
        return answer


def part(eth_usd: str, feed: Feed | None = None) -> RatePart:
    rules = SimpleNamespace(eth_usd=eth_usd, eth_usd_feed="0x" + "11" * 20)
    context: Any = SimpleNamespace(settings=SimpleNamespace(orchestrator=rules))
    servers: Any = None if feed is None else SimpleNamespace(rpc=feed)
    return RatePart(context, servers)


async def test_a_rate_that_is_set_is_known_before_anything_starts() -> None:
    rate = part("3000.5")
    await rate.open()
    assert rate.eth_usd == Fraction("3000.5")
    await rate.tried()


async def test_a_feed_without_servers_keeps_orchd_from_starting() -> None:
    with pytest.raises(SettingsError, match=r"chain\.rpc_url_file"):
        await part("feed").open()


@virtual_time
async def test_a_feed_is_read_again_and_a_failure_leaves_what_was_known() -> None:
    feed = Feed(None)
    rate, told = part("feed", feed), list[Fraction | None]()
    rate.changed.connect(lambda: told.append(rate.eth_usd))
    await rate.open()
    assert rate.eth_usd is None
    (following,) = (tasks.spawn(root, name="rate") for root in rate.roots().values())
    await rate.tried()
    assert rate.eth_usd is None, "it was tried"
    for price, known in ((3000, 3000), (3000, 3000), (None, 3000), (3100, 3100)):
        feed.price = price
        await asyncio.sleep(RATE_PERIOD_S)
        assert rate.eth_usd == known
    assert told == [3000, 3100], "told when it is another one"
    await tasks.cancel(following)
