"""What others have to say about a job: who asks, is it paid, how is its account closed. Knows nothing of HTTP.

For one job, over the hooks in their order:

- `identify` before slot, queue and cold start: no side effects; who may not ask must not hold a slot.
- `admit` after the slot, before the runner sees anything: the place to take a ticket.
- `charge` every `charge_period_s` while an admitted session runs; refusing ends it.
- `settle` exactly once on every hook for every session that began, in whatever way it ended, admitted or not; after
  the slot is free, and never while a `charge` of that session runs.

A hook refuses by raising JobRefused. One that raises anything else, or takes longer than the time-out, refuses with
503; from `settle` that is logged, and the other hooks are settled all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from orchd.domain.ids import ModelKey
from orchd.errors import Code, JobRefused
from orchd.jobs.request import Headers
from orchd.sessions.session import Outcome, Session

log = structlog.get_logger("orchd.jobs")


@dataclass(slots=True)
class Job:
    """One request for work, as hooks see it.

    Attributes:
        request_id: as in `Livepeer-Request-Id`.
        target: path and query as they came.
        headers: all of the caller's, those that the runner will not see included.
        peer: the caller's address; empty = unknown.
        began_at: loop clock, seconds.
        session: None until it has a slot.
        admitted: every `admit` has passed.
    """

    request_id: str
    key: ModelKey
    method: str
    target: str
    headers: Headers
    peer: str
    began_at: float
    session: Session | None = None
    admitted: bool = False


class JobHook:
    """Base of all hooks: has nothing against any job. A hook overrides what it cares for."""

    async def identify(self, job: Job) -> None:
        """Refuse who may not ask. No side effects."""

    async def admit(self, job: Job) -> None:
        """Take what the job costs, or refuse it."""

    async def charge(self, session: Session, used: float) -> None:
        """Charge for the time so far, or end the session by refusing.

        Args:
            used: seconds since the session began.
        """

    async def settle(self, session: Session, outcome: Outcome) -> None:
        """Close the session's account."""


class AcceptAll(JobHook):
    """The hook that orchd ships with."""


class Hooks:
    """The ordered list. Args:
    timeout_s: longest time for one call of one hook.
    charge_period_s: seconds between two charges of a session.
    """

    def __init__(self, hooks: Sequence[JobHook], *, timeout_s: float, charge_period_s: float = 1.0) -> None:
        self._hooks = tuple(hooks)
        self._timeout_s = timeout_s
        self._charge_period_s = charge_period_s

    async def identify(self, job: Job) -> None:
        """Raises:
        JobRefused: a hook said no, or failed (HOOK_FAILED).
        """
        for hook in self._hooks:
            await self._call(hook, "identify", hook.identify(job))

    async def admit(self, job: Job) -> None:
        """Raises:
        JobRefused: as `identify`.
        """
        for hook in self._hooks:
            await self._call(hook, "admit", hook.admit(job))
        job.admitted = True

    async def account(self, job: Job, ended: asyncio.Future[Outcome], cut: Callable[[JobRefused], None]) -> None:
        """Keep the account of a session from its begin until it is settled.

        Args:
            ended: gets the outcome when the slot is free.
            cut: ends the session early.
        """
        session = job.session
        assert session is not None
        clock = asyncio.get_running_loop().time
        while not (await asyncio.wait({ended}, timeout=self._charge_period_s))[0]:
            if not job.admitted:
                continue
            try:
                for hook in self._hooks:
                    await self._call(hook, "charge", hook.charge(session, clock() - session.began_at))
            except JobRefused as refusal:
                cut(refusal)
                break
        outcome = await ended
        for hook in self._hooks:
            try:
                await self._call(hook, "settle", hook.settle(session, outcome))
            except JobRefused as refusal:
                log.error("settle_failed", hook=type(hook).__name__, session=session.id, error=refusal.message)

    async def _call(self, hook: JobHook, what: str, call: Awaitable[None]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await call
        except JobRefused:
            raise
        except TimeoutError as exc:
            raise self._failed(hook, what, f"took longer than {self._timeout_s:g} s") from exc
        except Exception as exc:
            log.error("hook_failed", hook=type(hook).__name__, call=what, exc_info=exc)
            raise self._failed(hook, what, "failed") from exc

    def _failed(self, hook: JobHook, what: str, how: str) -> JobRefused:
        return JobRefused(Code.HOOK_FAILED, f"cannot {what} the job: {type(hook).__name__} {how}")
