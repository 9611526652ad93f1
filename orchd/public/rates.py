"""How often each of very many may ask: a token bucket for each, in bounded memory. Pure.

A bucket holds `burst` tokens, gets `rate` of them a second, and each request takes one. A bucket that is full again is
as good as none, so those are dropped when room is needed. If there is no such bucket, all newcomers share one: nobody
gains by filling the table with addresses, and those who ask regularly keep their own. A bucket of one's own begins with
what is left in the shared one, from which its owner may have taken before.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

MOST_BUCKETS = 16_384
"""Of about 200 bytes each."""


@dataclass(slots=True)
class _Bucket:
    """Attributes:
    tokens: at `at`, seconds.
    """

    tokens: float
    at: float


class TokenBuckets:
    """A token bucket for each key.

    Args:
        rate: tokens per second.
        burst: most tokens of a bucket.
        most: buckets in memory.
    """

    def __init__(self, rate: float, burst: int, most: int = MOST_BUCKETS) -> None:
        self._rate = rate
        self._burst = float(burst)
        self._most = most
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()  # Those used last come last.
        self._shared = _Bucket(self._burst, 0.0)

    def __len__(self) -> int:
        """Return how many buckets are in memory."""
        return len(self._buckets)

    def take(self, key: str, now: float) -> float:
        """Take a token; return 0.0, or, where there is none, after how many seconds there will be one.

        Args:
            now: seconds; never less than at the last call.
        """
        bucket = self._bucket(key, now)
        tokens = self._tokens(bucket, now)
        bucket.at = now
        bucket.tokens = tokens - 1.0 if tokens >= 1.0 else tokens
        return self._until_one_s(tokens)

    def wait_s(self, key: str, now: float) -> float:
        """Return what `take` would, and take nothing."""
        return self._until_one_s(self._tokens(self._buckets.get(key, self._shared), now))

    def _until_one_s(self, tokens: float) -> float:
        return 0.0 if tokens >= 1.0 else (1.0 - tokens) / self._rate

    def _bucket(self, key: str, now: float) -> _Bucket:
        buckets = self._buckets
        if (bucket := buckets.get(key)) is not None:
            buckets.move_to_end(key)
            return bucket
        if len(buckets) >= self._most:
            oldest = next(iter(buckets))
            if not self._full(buckets[oldest], now):
                return self._shared
            del buckets[oldest]
        buckets[key] = bucket = _Bucket(self._tokens(self._shared, now), now)
        return bucket

    def _full(self, bucket: _Bucket, now: float) -> bool:
        return self._tokens(bucket, now) >= self._burst

    def _tokens(self, bucket: _Bucket, now: float) -> float:
        return min(self._burst, bucket.tokens + (now - bucket.at) * self._rate)


def address_key(peer: str) -> str:
    """Return under which key the requests of an address are counted: itself, and of IPv6 its /64, since one host has
    all of that.
    """
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return peer
    if address.version == 4:
        return peer
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)).network_address)
