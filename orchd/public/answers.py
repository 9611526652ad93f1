"""Bounds and counts what the doors of the listener for payers answer themselves. Pure: the clock is given."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from orchd.errors import Code, JobRefused
from orchd.public.rates import TokenBuckets, address_key
from orchd.public.settings import PublicSettings


class AnswerCounts(Protocol):
    """See `metrics.PublicCollector`."""

    def answered(self, door: str, route: str, status: int) -> None: ...
    def limited(self, by: str) -> None: ...
    def not_found(self) -> None: ...


class PublicAnswers:
    """As `doors.entrance.OwnAnswerKeeper`.

    Args:
        now: seconds.
        timeout: bounds what is awaited to so many seconds, without those in which orchd stood still.
    """

    def __init__(
        self,
        settings: PublicSettings,
        counts: AnswerCounts,
        now: Callable[[], float],
        timeout: Callable[[float], AbstractAsyncContextManager[object]],
    ) -> None:
        self.seconds = settings.answer_timeout_s
        self.answered = counts.answered
        self.not_found = counts.not_found
        self._limited = counts.limited
        self._now = now
        self._timeout = timeout
        self._addresses = TokenBuckets(settings.address_rate, settings.address_burst)
        self._payers = TokenBuckets(settings.payer_rate, settings.payer_burst)

    def timeout(self) -> AbstractAsyncContextManager[object]:
        """As `OwnAnswerKeeper`."""
        return self._timeout(self.seconds)

    def limit_address(self, peer: str) -> None:
        """As `OwnAnswerKeeper`."""
        self._limit("address", self._addresses.take(address_key(peer), self._now()))

    def check_address(self, peer: str) -> None:
        """As `OwnAnswerKeeper`."""
        self._limit("address", self._addresses.wait_s(address_key(peer), self._now()))

    def limit_payer(self, payer: str) -> None:
        """As `OwnAnswerKeeper`."""
        self._limit("payer", self._payers.take(payer, self._now()))

    def _limit(self, by: str, wait_s: float) -> None:
        if wait_s:
            self._limited(by)
            raise JobRefused(
                Code.RATE_LIMITED,
                f"cannot answer now: this {by} asks too often; try again later",
                retry_after_s=math.ceil(wait_s),
            )
