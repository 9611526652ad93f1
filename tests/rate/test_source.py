"""The rate, from the operator or from a feed over a real JSON-RPC server."""

from __future__ import annotations

import traceback
from collections.abc import AsyncIterator, Callable
from fractions import Fraction

import pytest
import pytest_asyncio

from orchd.domain.model import Secret
from orchd.errors import Code, OrchdError, SettingsError
from orchd.names import Names
from orchd.rate.source import MAX_AGE_S, ChainlinkFeed, FixedRate, eth_usd_source
from orchd.rpc.client import HttpRpcClient
from orchd.rpc.servers import RpcServers
from orchd.rpc.urls import rpc_urls
from tests.doubles.rpc.feed import EIGHT, FEED, ROUND, UPDATED_AT, FeedServer, words
from tests.doubles.rpc.serving import KEY
from tests.ports import free_port

MakeFeed = Callable[..., ChainlinkFeed]


@pytest_asyncio.fixture
async def rpc() -> AsyncIterator[FeedServer]:
    async with FeedServer.serving() as rpc:
        yield rpc


@pytest_asyncio.fixture
async def feed() -> AsyncIterator[MakeFeed]:
    """Makes feeds at these URLs."""
    client = HttpRpcClient(Names())

    def make(*urls: str, at: float = UPDATED_AT + 60, timeout_s: float = 10) -> ChainlinkFeed:
        servers = RpcServers(rpc_urls(Secret("\n".join(urls))), client, 0, timeout_s)
        return ChainlinkFeed(servers, FEED, now=lambda: at)

    yield make
    await client.close()


async def refusal(source: ChainlinkFeed) -> str:
    """Return why the rate can't be had, having seen that nothing of it tells the key."""
    with pytest.raises(OrchdError) as raised:
        await source.read()
    error = raised.value
    assert error.code is Code.RATE_UNAVAILABLE
    start = f"cannot read the ETH/USD rate of feed {FEED} at 127.0.0.1:"
    assert error.message.startswith(start)
    assert KEY not in "".join(traceback.format_exception(error))
    assert KEY not in repr(source)
    return error.message.removeprefix(start).partition(": ")[2]


async def test_the_rate_is_the_answer_by_its_decimals_exactly(rpc: FeedServer, feed: MakeFeed) -> None:
    assert await feed(rpc.url).read() == Fraction("3456.78901234")
    [asked] = rpc.seen
    assert [each["params"][0]["data"] for each in asked] == ["0x313ce567", "0xfeaf968c"]


async def test_a_second_server_is_asked_where_the_first_fails(rpc: FeedServer, feed: MakeFeed) -> None:
    async with FeedServer.serving() as first:
        first.answers("", 500)
        source = feed(first.url, rpc.url)
        assert await source.read() == await source.read() == Fraction("3456.78901234")
        assert (len(first.seen), len(rpc.seen)) == (1, 2), "the one that works is asked first"


async def test_the_answer_is_read_each_time(rpc: FeedServer, feed: MakeFeed) -> None:
    source = feed(rpc.url)
    await source.read()
    rpc.results["0xfeaf968c"] = words(2, 2 * 10**18, UPDATED_AT, UPDATED_AT, 2)
    assert await source.read() == 2 * 10**10


async def test_a_feed_of_other_decimals_is_read_as_well(rpc: FeedServer, feed: MakeFeed) -> None:
    rpc.results = {"0x313ce567": words(18), "0xfeaf968c": words(1, 3 * 10**21, 0, UPDATED_AT, 1)}
    assert await feed(rpc.url).read() == 3000


@pytest.mark.parametrize("answer", [0, -1, -345678901234])
async def test_an_answer_that_is_not_positive_is_refused(rpc: FeedServer, feed: MakeFeed, answer: int) -> None:
    rpc.results["0xfeaf968c"] = words(1, answer, UPDATED_AT, UPDATED_AT, 1)
    assert await refusal(feed(rpc.url)) == "its answer is not positive"


async def test_an_answer_is_good_for_its_age_and_no_longer(rpc: FeedServer, feed: MakeFeed) -> None:
    assert await feed(rpc.url, at=UPDATED_AT + MAX_AGE_S).read()
    assert await feed(rpc.url, at=UPDATED_AT - 60).read()  # our clock is behind
    why = await refusal(feed(rpc.url, at=UPDATED_AT + MAX_AGE_S + 360))
    assert why == "its answer is 25.1 h old, at most 25 h are allowed"


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ("0x", "no such contract"),
        (None, "no such contract"),
        (12, "no such contract"),
        ("0xzz", "no such contract"),
        (ROUND[:-64], "it returns 128 bytes"),
    ],
)
async def test_what_is_no_feed_is_refused(rpc: FeedServer, feed: MakeFeed, result: object, why: str) -> None:
    rpc.results["0xfeaf968c"] = result
    assert why in await refusal(feed(rpc.url))


async def test_absurd_decimals_are_refused(rpc: FeedServer, feed: MakeFeed) -> None:
    rpc.results["0x313ce567"] = words(2**255)
    assert "decimals" in await refusal(feed(rpc.url))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("<html>", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "does not fit"),
        ('[{"id":1,"result":"' + "0" * 2_000_000 + '"}]', "longer than 1048576 bytes"),
    ],
)
async def test_an_answer_that_is_no_json_rpc_is_refused(rpc: FeedServer, feed: MakeFeed, text: str, why: str) -> None:
    rpc.answers(text)
    assert why in await refusal(feed(rpc.url))


@pytest.mark.parametrize(("code", "shown"), [(-32000, "-32000"), (f"bad key {KEY}", "unnamed")])
async def test_an_error_of_the_server_is_told_without_its_words(
    rpc: FeedServer, feed: MakeFeed, code: object, shown: str
) -> None:
    rpc.answers({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": f"the key {KEY} has no credit"}})
    assert await refusal(feed(rpc.url)) == f"the RPC server refuses the call: error {shown}"


@pytest.mark.parametrize("status", [401, 429, 500])
async def test_another_http_code_is_refused(rpc: FeedServer, feed: MakeFeed, status: int) -> None:
    rpc.answers(f"no {KEY}", status)
    assert f"HTTP {status}" in await refusal(feed(rpc.url))


async def test_a_redirect_is_not_followed(rpc: FeedServer, feed: MakeFeed) -> None:
    rpc.answers("", 307, Location=f"/v2/{KEY}")
    assert "HTTP 307" in await refusal(feed(rpc.url))
    assert len(rpc.seen) == 1


async def test_a_server_that_says_nothing_is_given_up(rpc: FeedServer, feed: MakeFeed) -> None:
    rpc.mute = True
    assert await refusal(feed(rpc.url, timeout_s=0.05)) == "no answer within 0.05 s"


async def test_nobody_there(feed: MakeFeed) -> None:
    url = f"http://127.0.0.1:{free_port()}/{KEY}"
    assert await refusal(feed(url)) == "connection refused: nothing listens on this port there"


async def test_a_server_without_tls(rpc: FeedServer, feed: MakeFeed) -> None:
    assert "it does not speak TLS on this port" in await refusal(feed(rpc.url.replace("http:", "https:")))


async def test_a_failed_read_leaves_the_next_one_unharmed(rpc: FeedServer, feed: MakeFeed) -> None:
    source = feed(rpc.url)
    rpc.results["0x313ce567"] = "0x"
    await refusal(source)
    rpc.results["0x313ce567"] = EIGHT
    assert await source.read() == Fraction("3456.78901234")


async def test_the_setting_names_the_source() -> None:
    rpc = RpcServers((), HttpRpcClient(Names()), 0, 5)
    assert eth_usd_source("", FEED, rpc) is None
    fixed = eth_usd_source("3000.5", FEED, None)
    assert isinstance(fixed, FixedRate)
    assert await fixed.read() == Fraction("3000.5")
    assert isinstance(eth_usd_source("feed", FEED, rpc), ChainlinkFeed)
    with pytest.raises(SettingsError, match="rpc_url_file"):
        eth_usd_source("feed", FEED, None)
