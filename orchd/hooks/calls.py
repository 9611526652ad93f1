"""Asks the hooks about a job, in their order, and tells what their failures mean.

For one job: `arrive`, `identify`, `admit`, then `charge` from time to time, then `settle` (see `hook.JobHook`).

A call that returns None has answered, and costs a function call. For one that must wait, an awaitable comes back, which
the caller awaits in a task. Calls that a hook does not override are left out when the list is made: without hooks, a
job pays for one look at a flag.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from orchd.domain.outcomes import Outcome
from orchd.errors import JOB_ANSWERS, Code, JobRefused
from orchd.hooks.account import Account
from orchd.hooks.hook import JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.metrics import HookCounts
from orchd.hooks.open_accounts import OpenAccounts
from orchd.hooks.usage import Measured, Usage, usage_of
from orchd.lag import LoopLag
from orchd.tasks import being_cancelled

log = structlog.get_logger("orchd.jobs")

HookCall = Callable[..., Waits]


class HookCalls:
    """The hooks in their order.

    Args:
        timeout_s: longest time in seconds for one call of one hook.
        charge_period_s: seconds between two charges of a session.
        lag: for how long orchd itself stood still; that counts against no hook.
        names: of the hooks, in the same order; else those of their classes.
        counts: counts refusals and failures.
        books: keeps accounts over a crash; None = no hook asks for that.

    Attributes:
        books: as above.
        arriving, identifying, admitting, settling: some hook overrides this call.
        charging: so does one with `charge`, or it must be known what was used.
        accounting: some hook is given accounts.
    """

    def __init__(
        self,
        hooks: Sequence[JobHook],
        *,
        timeout_s: float,
        charge_period_s: float = 1.0,
        lag: LoopLag | None = None,
        names: Sequence[str] = (),
        counts: HookCounts | None = None,
        books: OpenAccounts | None = None,
    ) -> None:
        self._lag = lag or LoopLag()
        self._hooks = tuple(zip(hooks, names or [type(hook).__name__ for hook in hooks], strict=True))
        self._counts = counts or HookCounts()
        self.books = books
        self._names: dict[HookCall, tuple[str, str]] = {}
        """Of hook and call."""
        self._arrive = self._overridden("arrive")
        self._identify = self._overridden("identify")
        self._admit = self._overridden("admit")
        self._charge = self._overridden("charge")
        self._settle = self._overridden("settle")
        self._timeout_s = timeout_s
        self._charge_period_s = charge_period_s
        self.arriving = bool(self._arrive)
        self.identifying, self.admitting = bool(self._identify), bool(self._admit)
        self.charging, self.settling = bool(self._charge or books), bool(self._settle)
        self.accounting = self.charging or self.settling

    def _overridden(self, call: str) -> tuple[HookCall, ...]:
        """Return the calls of those hooks that override this one."""
        found = []
        for hook, name in self._hooks:
            if getattr(type(hook), call) is not getattr(JobHook, call):
                found.append(made := getattr(hook, call))
                self._names[made] = name, call
                self._counts.failures[name, call] += 0  # To be seen before the first one.
        return tuple(found)

    def arrive(self, job: Job) -> Waits:
        """Ask all. What is returned must be awaited; None = all have answered.

        Raises:
            JobRefused: a hook said no, or failed (HOOK_FAILED); so may what is returned.
        """
        return self._ask(self._arrive, job)

    def identify(self, job: Job) -> Waits:
        """As `arrive`."""
        return self._ask(self._identify, job)

    def admit(self, job: Job) -> Waits:
        """As `arrive`."""
        return self._ask(self._admit, job)

    async def charge(
        self, account: Account, began_at: float, ended: asyncio.Event, cut: Callable[[JobRefused], None]
    ) -> None:
        """Charge from time to time until the session has ended, or a hook refuses: then `cut` gets why.

        Args:
            began_at: when the session began; loop clock, seconds.
        """
        clock = asyncio.get_running_loop().time
        while not ended.is_set():
            try:
                async with asyncio.timeout(self._charge_period_s):
                    await ended.wait()
            except TimeoutError:
                used = clock() - began_at
                if self.books is not None:
                    self.books.note_used(account.id, used)
                try:
                    for call in self._charge:
                        if (waits := self._called(call, account, used)) is not None:
                            await self._awaited(call, waits)
                except JobRefused as refusal:
                    cut(refusal)
                    return

    def settle(self, account: Account, outcome: Outcome, served: Measured) -> Waits:
        """Settle with all hooks; nothing that one of them does keeps the others from it. Never raises."""
        usage = usage_of(account, served)
        for n, call in enumerate(self._settle):
            if (waits := self._settled(call, account, outcome, usage)) is not None:
                return self._settle_rest(waits, n, account, outcome, usage)
        return None

    def _ask(self, calls: Sequence[HookCall], job: Job) -> Waits:
        call = None
        try:
            for call in calls:
                if (waits := call(job)) is not None:
                    return self._ask_rest(waits, calls[calls.index(call) :], job)
        except BaseException as exc:
            assert call is not None
            if not _is_answer(exc):
                raise self._failed(call, "failed", exc) from exc
            self._refused(call, exc)
            raise
        return None

    async def _ask_rest(self, waits: Awaitable[None], calls: Sequence[HookCall], job: Job) -> None:
        await self._awaited(calls[0], waits)
        if (more := self._ask(calls[1:], job)) is not None:
            await more

    async def _settle_rest(
        self, waits: Awaitable[None], n: int, account: Account, outcome: Outcome, usage: Usage
    ) -> None:
        more: Waits = waits
        while True:
            try:
                if more is not None:
                    await self._awaited(self._settle[n], more)
            except JobRefused as refusal:
                self._log_unsettled(self._settle[n], account, refusal)
            if (n := n + 1) == len(self._settle):
                return
            more = self._settled(self._settle[n], account, outcome, usage)

    def _settled(self, call: HookCall, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        try:
            return self._called(call, account, outcome, usage)
        except JobRefused as refusal:
            self._log_unsettled(call, account, refusal)
            return None

    def _called(self, call: HookCall, *args: object) -> Waits:
        try:
            return call(*args)
        except BaseException as exc:
            if not _is_answer(exc):
                raise self._failed(call, "failed", exc) from exc
            self._refused(call, exc)
            raise

    async def _awaited(self, call: HookCall, waits: Awaitable[None]) -> None:
        try:
            async with self._lag.timeout(self._timeout_s):
                await waits
        except TimeoutError as exc:
            raise self._failed(call, f"took longer than {self._timeout_s:g} s") from exc
        except GeneratorExit:
            raise
        except BaseException as exc:
            if isinstance(exc, asyncio.CancelledError) and being_cancelled():
                raise
            if not _is_answer(exc):
                raise self._failed(call, "failed", exc) from exc
            self._refused(call, exc)
            raise

    def _refused(self, call: HookCall, answer: BaseException) -> None:
        assert isinstance(answer, JobRefused)
        hook, what = self._names[call]
        if answer.code is Code.HOOK_FAILED:  # It says itself that it can't tell.
            self._counts.failed(hook, what)
        else:
            self._counts.refused(hook, answer.word)

    def _failed(self, call: HookCall, how: str, exc: BaseException | None = None) -> JobRefused:
        hook, what = self._names[call]
        self._counts.failed(hook, what)
        if exc is not None:
            log.error("hook_failed", hook=hook, call=what, exc_info=exc)
        return JobRefused(Code.HOOK_FAILED, f"cannot {what} the job: the hook {hook} {how}")

    def _log_unsettled(self, call: HookCall, account: Account, refusal: JobRefused) -> None:
        log.error("settle_failed", hook=self._names[call][0], account=account.id, error=refusal.message)


async def awaited(waits: Awaitable[None]) -> None:
    """Make a coroutine of what a call of `HookCalls` returned."""
    await waits


def _is_answer(exc: BaseException) -> bool:
    """Return whether this can be answered to a caller. All else that a hook raises is its failure.

    SystemExit too, which would end the daemon, and CancelledError, which comes from something else that it waited for.
    """
    return isinstance(exc, JobRefused) and exc.code in JOB_ANSWERS
