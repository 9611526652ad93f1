"""The hook `limits`: how many sessions a payer may have at once, and how many jobs it may begin in a minute."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable

from pydantic import Field

from orchd.errors import Code
from orchd.hooks.hook import HookOptions, JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.refusal import Refusal

REASON = "rate_limit"
MAX_PAYERS = 10_000
"""Of so many it is remembered when they last began a job; who has not for longest is forgotten first."""
MINUTE_S = 60.0


class LimitsOptions(HookOptions):
    """Each limit is for one payer; 0 = there is none."""

    sessions: int = Field(0, ge=0, description="Most sessions of one payer at once, of all models together.")
    sessions_per_model: int = Field(0, ge=0, description="Most sessions of one payer at once of the same model.")
    jobs_per_minute: int = Field(
        0, ge=0, description="Most jobs that one payer may begin in a minute; it may begin that many at once."
    )


class Rates:
    """What each payer may still begin: a bucket that fills by so many jobs a minute. No await in it.

    Args:
        clock: seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._most = per_minute
        self._per_s = per_minute / MINUTE_S
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Jobs that were left, and when that was; the payer that began one last stands last."""

    def __len__(self) -> int:
        """Return of how many payers something is remembered."""
        return len(self._buckets)

    def wait_s(self, payer: str) -> float:
        """Return in how many seconds this payer may begin a job; 0 = now."""
        return max(0.0, (1 - self._left(payer)) / self._per_s)

    def take(self, payer: str) -> None:
        """This payer begins a job."""
        self._buckets[payer] = self._left(payer) - 1, self._clock()
        self._buckets.move_to_end(payer)
        if len(self._buckets) > MAX_PAYERS:
            self._buckets.popitem(last=False)

    def _left(self, payer: str) -> float:
        left, since = self._buckets.get(payer, (float(self._most), 0.0))
        return min(float(self._most), left + (self._clock() - since) * self._per_s)


class LimitsHook(JobHook):
    """Refuses with 503 where another orchestrator, or some patience, helps."""

    Options = LimitsOptions

    def __init__(self, options: LimitsOptions) -> None:
        super().__init__(options)
        self._sessions, self._of_model = options.sessions, options.sessions_per_model
        self._rates: Rates | None = None
        if options.jobs_per_minute:
            self._rates = Rates(options.jobs_per_minute, lambda: asyncio.get_running_loop().time())

    def identify(self, job: Job) -> Waits:
        """Say the limits; refuse who has begun too many jobs, but take nothing yet."""
        if self._sessions:
            job.lower_limit(self._sessions, of_all_models=True)
        if self._of_model:
            job.lower_limit(self._of_model)
        self._check_rate(job)
        return None

    def admit(self, job: Job) -> Waits:
        """The job has its slot: it counts as begun, unless others have begun too many meanwhile."""
        if (payer := self._check_rate(job)) is not None and self._rates is not None:
            self._rates.take(payer)
        return None

    def _check_rate(self, job: Job) -> str | None:
        payer = job.counts_for
        if self._rates is not None and payer is not None and (wait_s := self._rates.wait_s(payer)) > 0:
            raise Refusal(
                503,
                "cannot begin a job: this payer has begun as many in a minute as it may",
                reason=REASON,
                code=Code.CAPACITY_EXHAUSTED,
                retry_after_s=math.ceil(wait_s),
            )
        return payer
