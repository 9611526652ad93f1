"""What an ETH costs in USD: a fixed number, or what a Chainlink aggregator says over an Ethereum JSON-RPC server."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

from orchd.errors import Code, OrchdError, SettingsError
from orchd.rpc.ports import Rpc, RpcFault, RpcUnanswered, call_of
from orchd.rpc.words import words_of

MAX_AGE_S = 25 * 3600.0
"""Of an answer. The feed writes a new one when ETH has moved by its threshold (0.05 % on Arbitrum One), and else only
after its heartbeat, for which up to 24 h are published: a tighter bound would refuse a true rate on a quiet day. The
hour is for a late write."""

DECIMALS = "0x313ce567"
LATEST_ROUND_DATA = "0xfeaf968c"
"""Selectors of AggregatorV3Interface: `decimals()` and `latestRoundData()`, which returns five words: round, answer
(int256), started at, updated at (Unix time, seconds), round answered in."""

_MOST_DECIMALS = 36


class EthUsd(Protocol):
    """Where the rate comes from."""

    async def read(self) -> Fraction:
        """Return USD per ETH, > 0.

        Raises:
            OrchdError: `rate_unavailable`.
        """
        ...


def eth_usd_source(eth_usd: str, feed: str, rpc: Rpc | None) -> EthUsd | None:
    """Return what the setting `orchestrator.eth_usd` names; None if it is empty.

    Args:
        eth_usd: a positive number, `feed` or empty, as the settings have checked.
        feed: address of the aggregator.
        rpc: servers of the chain that it is on; None = there are none.

    Raises:
        SettingsError: `feed` without servers.
    """
    if eth_usd != "feed":
        return FixedRate(Fraction(eth_usd)) if eth_usd else None
    if rpc is None:
        raise SettingsError("cannot use orchestrator.eth_usd = feed without a URL in chain.rpc_url_file: name the file")
    return ChainlinkFeed(rpc, feed)


@dataclass(frozen=True, slots=True)
class FixedRate:
    """A rate that the operator has set."""

    rate: Fraction

    async def read(self) -> Fraction:
        return self.rate


class ChainlinkFeed:
    """Reads an ETH/USD aggregator.

    Args:
        rpc: servers of the chain that the feed is on.
        feed: address of the aggregator's proxy.
        max_age_s: seconds; an older answer is refused, and the next server is asked.
        now: Unix time.
    """

    def __init__(
        self, rpc: Rpc, feed: str, *, max_age_s: float = MAX_AGE_S, now: Callable[[], float] = time.time
    ) -> None:
        self._rpc = rpc
        self._feed = feed
        self._max_age_s = max_age_s
        self._now = now

    async def read(self) -> Fraction:
        """Return USD per ETH as the feed says it, exact.

        Raises:
            OrchdError: `rate_unavailable`: no answer, none that makes sense, or one that is too old.
        """
        calls = [call_of(self._feed, DECIMALS), call_of(self._feed, LATEST_ROUND_DATA)]
        try:
            return await self._rpc.ask(calls, self._rate)
        except RpcUnanswered as exc:
            raise OrchdError(
                f"cannot read the ETH/USD rate of feed {self._feed} at {exc.why}", code=Code.RATE_UNAVAILABLE
            ) from exc

    def _rate(self, results: Sequence[Any]) -> Fraction:
        [decimals] = words_of(results[0], 1)
        if decimals > _MOST_DECIMALS:
            raise RpcFault(f"it says that its answers have {decimals} decimals")
        _, answer, _, updated_at, _ = words_of(results[1], 5)
        if not 0 < answer < 2**255:  # the upper half is the negative numbers
            raise RpcFault("its answer is not positive")
        age_s = self._now() - updated_at
        if age_s > self._max_age_s:
            raise RpcFault(f"its answer is {age_s / 3600:.1f} h old, at most {self._max_age_s / 3600:g} h are allowed")
        return Fraction(answer, 10**decimals)
