"""The log line of a request that a door refused to answer itself: bounded, as anybody can bring such refusals about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from orchd.errors import JobRefused
from orchd.jobs.run import Run

log = structlog.get_logger("orchd.jobs")

EACH_S = 60.0
"""At least so many seconds lie between two lines about the same reason and payer."""
MOST_KEPT = 256
"""Payers and reasons that are told apart at a time; beyond them, one line stands for all payers with that reason."""


@dataclass(slots=True)
class _Told:
    """When a line was written (loop clock), and how many refusals have had none since."""

    at: float
    more: int = 0


class OwnLines:
    """Writes one line for each reason and payer a minute, which says how many there were since the one before.

    Args:
        now: seconds.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._told: OrderedDict[tuple[str, str], _Told] = OrderedDict()  # Those told last come last.

    def refused(self, run: Run, route: str, payer: str, why: JobRefused) -> None:
        """Say that a request was refused, if nothing was said of its like for a minute.

        Args:
            payer: who asks; empty = it has not shown who it is.
        """
        now = self._now()
        key = self._key(why.word, payer, now)
        last = self._told.get(key)
        if last is not None and now - last.at < EACH_S:
            last.more += 1
            return
        self._told[key] = _Told(now)
        self._told.move_to_end(key)
        log.info(
            "answer_refused",
            request_id=run.request_id,
            door=run.door.name,
            route=route,
            payer=key[1],
            code=str(why.code),
            error=why.word,
            reason=why.message,
            status=why.status,
            more_since_last=0 if last is None else last.more,
        )

    def _key(self, word: str, payer: str, now: float) -> tuple[str, str]:
        if (word, payer) in self._told or len(self._told) < MOST_KEPT:
            return word, payer
        oldest = next(iter(self._told))
        if now - self._told[oldest].at < EACH_S:
            return word, ""
        del self._told[oldest]
        return word, payer
