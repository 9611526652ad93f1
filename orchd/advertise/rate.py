"""What an ETH costs in USD: a fixed number, or what a Chainlink aggregator says over an Ethereum JSON-RPC server.

The URL of such a server usually holds a key: of it only the host is ever shown.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol
from urllib.parse import urlsplit

from orchd.domain.model import Secret
from orchd.errors import Code, OrchdError, SettingsError
from orchd.http_client import Unanswered, ask_once
from orchd.names import Names

MAX_AGE_S = 25 * 3600.0
"""Of an answer. The feed writes a new one when ETH has moved by its threshold (0.05 % on Arbitrum One), and else only
after its heartbeat, for which up to 24 h are published: a tighter bound would refuse a true rate on a quiet day. The
hour is for a late write."""

DECIMALS = "0x313ce567"
LATEST_ROUND_DATA = "0xfeaf968c"
"""Selectors of AggregatorV3Interface: `decimals()` and `latestRoundData()`, which returns five words: round, answer
(int256), started at, updated at (Unix time, seconds), round answered in."""

_MOST_DECIMALS = 36
_MAX_ANSWER_BYTES = 64 * 1024


class EthUsd(Protocol):
    """Where the rate comes from."""

    async def read(self) -> Fraction:
        """Return USD per ETH, > 0.

        Raises:
            OrchdError: `rate_unavailable`.
        """
        ...


def eth_usd_source(
    eth_usd: str, feed: str, rpc_url: Secret | None, call_timeout_s: float, names: Names | None = None
) -> EthUsd | None:
    """Return what the setting `orchestrator.eth_usd` names; None if it is empty.

    Args:
        eth_usd: a positive number, `feed` or empty, as the settings have checked.
        feed: address of the aggregator.
        rpc_url: None = there is none.

    Raises:
        SettingsError: `feed` without a usable `rpc_url`.
    """
    if eth_usd != "feed":
        return FixedRate(Fraction(eth_usd)) if eth_usd else None
    if rpc_url is None:
        raise SettingsError(
            "cannot use orchestrator.eth_usd = feed without a URL in orchestrator.rpc_url_file: name the file"
        )
    return ChainlinkFeed(rpc_url, feed, call_timeout_s, names=names)


@dataclass(frozen=True, slots=True)
class FixedRate:
    """A rate that the operator has set."""

    rate: Fraction

    async def read(self) -> Fraction:
        return self.rate


class ChainlinkFeed:
    """Reads an ETH/USD aggregator; each read is a connection of its own, as there are minutes between two.

    Args:
        rpc_url: of an Ethereum JSON-RPC server of the chain that the feed is on.
        feed: address of the aggregator's proxy.
        call_timeout_s: seconds; one call, of which the first read makes two.
        max_age_s: seconds; an older answer is refused.
        now: Unix time.
    """

    def __init__(
        self,
        rpc_url: Secret,
        feed: str,
        call_timeout_s: float,
        *,
        max_age_s: float = MAX_AGE_S,
        now: Callable[[], float] = time.time,
        names: Names | None = None,
    ) -> None:
        try:
            parts = urlsplit(rpc_url.value)
            self._host, usable = parts.hostname or "", parts.scheme in ("http", "https")
        except ValueError:
            self._host, usable = "", False
        if not usable or not self._host:
            raise SettingsError(
                "cannot use the URL in orchestrator.rpc_url_file: it should be http or https, and a host"
            )
        self._names = names or Names()
        self._rpc_url = rpc_url
        self._feed = feed
        self._call_timeout_s = call_timeout_s
        self._max_age_s = max_age_s
        self._now = now
        self._decimals: int | None = None

    async def read(self) -> Fraction:
        """Return USD per ETH as the feed says it, exact.

        Raises:
            OrchdError: `rate_unavailable`: no answer, none that makes sense, or one that is too old.
        """
        if self._decimals is None:  # never changes
            [decimals] = await self._call(DECIMALS, words=1)
            if decimals > _MOST_DECIMALS:
                raise self._error(f"it says that its answers have {decimals} decimals")
            self._decimals = decimals
        _, answer, _, updated_at, _ = await self._call(LATEST_ROUND_DATA, words=5)
        if not 0 < answer < 2**255:  # the upper half is the negative numbers
            raise self._error("its answer is not positive")
        age_s = self._now() - updated_at
        if age_s > self._max_age_s:
            raise self._error(
                f"its answer is {age_s / 3600:.1f} h old, at most {self._max_age_s / 3600:g} h are allowed"
            )
        return Fraction(answer, 10**self._decimals)

    async def _call(self, selector: str, *, words: int) -> list[int]:
        """Return the words that a function of the feed returns, unsigned."""
        call = {"to": self._feed, "data": selector}
        body = {"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [call, "latest"]}
        try:
            status, text = await ask_once(
                "POST",
                self._rpc_url.value,
                self._names,
                document=body,
                timeout_s=self._call_timeout_s,
                most=_MAX_ANSWER_BYTES,
            )
        except Unanswered as exc:
            raise self._error(str(exc)) from exc
        if status != 200:
            raise self._error(f"the RPC server answers with HTTP {status}")
        return self._words(text, words)

    def _words(self, text: bytes, count: int) -> list[int]:
        try:
            answer: Any = json.loads(text)
        except (ValueError, RecursionError):
            raise self._error("the RPC server's answer is not JSON") from None
        error = answer.get("error") if isinstance(answer, dict) else None
        if isinstance(error, dict):
            code = error.get("code")  # not its message, which may repeat the key
            raise self._error(f"the RPC server refuses the call: error {code if isinstance(code, int) else 'unnamed'}")
        result = answer.get("result") if isinstance(answer, dict) else None
        try:
            data = bytes.fromhex(result.removeprefix("0x")) if isinstance(result, str) else b""
        except ValueError:
            data = b""
        if not data:
            raise self._error("there is no such contract on the RPC server's chain, or it is not a feed")
        if len(data) < 32 * count:
            raise self._error(f"it returns {len(data)} bytes, and not {32 * count}")
        return [int.from_bytes(data[at : at + 32], "big") for at in range(0, 32 * count, 32)]

    def _error(self, why: str) -> OrchdError:
        return OrchdError(
            f"cannot read the ETH/USD rate of feed {self._feed} at {self._host}: {why}", code=Code.RATE_UNAVAILABLE
        )
