"""What others have to say about a job: who asks, is it paid, how is its account closed.

For one job, over the hooks in their order:

- `arrive` when the request's head is there, before any byte of its body is read and before the model is known: refuse
  here who may not ask at all. No side effects; also called for requests that name no model that there is.
- `identify` before slot, queue and cold start: no side effects; who may not ask must not hold a slot.
- `admit` after the slot, before the runner sees anything: the place to take a ticket.
- `charge` every `charge_period_s` while an admitted session runs; refusing ends it.
- `settle` exactly once on every hook for every session that began, in whatever way it ended, admitted or not; when it
  has ended (its slot may still be letting go), and never while another call for that session runs.

A hook refuses by raising JobRefused. One that raises anything else, or takes longer than the time-out, refuses with
503; from `settle` that is logged, and the other hooks are settled all the same.

A call that has nothing to wait for is a plain function and costs a job next to nothing; one that waits is a coroutine
function, and runs as a task. Calls that a hook does not override are not made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.outcomes import Outcome
from orchd.doors.base import Door
from orchd.doors.routes import HealthAsked, ToRunner
from orchd.errors import Code, JobRefused
from orchd.http1.names import Header
from orchd.http1.rules import RequestHead
from orchd.lag import LoopLag
from orchd.sessions.session import Session

log = structlog.get_logger("orchd.jobs")

Waits = Awaitable[None] | None
Call = Callable[..., Waits]


class Job:
    """One request for work, as hooks see it.

    Attributes:
        request_id: as in `Livepeer-Request-Id`.
        door: by which it came.
        key: the model; None until `arrive` has passed.
        way: how the request names it, and what it proves; while hooks hear of its arrival, None where only the body can
            name a model, or where there is no such model.
        arrived: every `arrive` has passed.
        head: method, target and headers as they came, those that the runner will not see included.
        peer: the caller's address; empty = unknown.
        began_at: loop clock, seconds.
        session: None until it has a slot.
        admitted: every `admit` has passed.
    """

    __slots__ = ("admitted", "arrived", "began_at", "door", "head", "key", "peer", "request_id", "session", "way")

    def __init__(self, request_id: str, head: RequestHead, peer: str, began_at: float, door: Door) -> None:
        self.request_id = request_id
        self.head = head
        self.peer = peer
        self.began_at = began_at
        self.key: ModelKey | None = None
        self.door = door
        self.way: ToRunner | HealthAsked | None = None
        self.arrived = False
        self.session: Session | None = None
        self.admitted = False

    @property
    def headers(self) -> Sequence[Header]:
        return self.head.headers

    @property
    def proof(self) -> bytes:
        """What the request shows to prove that the node has sent it; empty = nothing, or it names no model."""
        return b"" if self.way is None else self.door.proof(self.head, self.way)

    def header(self, name: bytes) -> bytes | None:
        """Return the first value under this lower-case name."""
        return self.head.value(name)


class JobHook:
    """Base of all hooks: has nothing against any job. A hook overrides what it cares for, plain or `async`."""

    def arrive(self, job: Job) -> Waits:
        """Refuse who may not ask at all, by the head alone. No side effects."""
        return None

    def identify(self, job: Job) -> Waits:
        """Refuse who may not ask for this model. No side effects."""
        return None

    def admit(self, job: Job) -> Waits:
        """Take what the job costs, or refuse it."""
        return None

    def charge(self, session: Session, used: float) -> Waits:
        """Charge for the time so far, or end the session by refusing.

        Args:
            used: seconds since the session began.
        """
        return None

    def settle(self, session: Session, outcome: Outcome) -> Waits:
        """Close the session's account."""
        return None


class Hooks:
    """The ordered list. Args:
    timeout_s: longest time for one call of one hook.
    charge_period_s: seconds between two charges of a session.

    Attributes:
        arriving, identifying, admitting, charging, settling: some hook has something to say there.
    """

    def __init__(
        self, hooks: Sequence[JobHook], *, timeout_s: float, charge_period_s: float = 1.0, lag: LoopLag | None = None
    ) -> None:
        self._lag = lag or LoopLag()
        self._arrive = _own(hooks, "arrive")
        self._identify = _own(hooks, "identify")
        self._admit = _own(hooks, "admit")
        self._charge = _own(hooks, "charge")
        self._settle = _own(hooks, "settle")
        self._timeout_s = timeout_s
        self._charge_period_s = charge_period_s
        self.arriving = bool(self._arrive)
        self.identifying, self.admitting = bool(self._identify), bool(self._admit)
        self.charging, self.settling = bool(self._charge), bool(self._settle)

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

    async def charge(self, session: Session, ended: asyncio.Event, cut: Callable[[JobRefused], None]) -> None:
        """Charge from time to time until the session has ended, or a hook refuses: then `cut` gets why."""
        clock = asyncio.get_running_loop().time
        while not ended.is_set():
            try:
                async with asyncio.timeout(self._charge_period_s):
                    await ended.wait()
            except TimeoutError:
                try:
                    for call in self._charge:
                        if (waits := self._called(call, session, clock() - session.began_at)) is not None:
                            await self._awaited(call, waits)
                except JobRefused as refusal:
                    cut(refusal)
                    return

    def settle(self, session: Session, outcome: Outcome) -> Waits:
        """Settle with all hooks; nothing that one of them does keeps the others from it. Never raises."""
        for n, call in enumerate(self._settle):
            if (waits := self._settled(call, session, outcome)) is not None:
                return self._settle_rest(waits, n, session, outcome)
        return None

    def _ask(self, calls: Sequence[Call], job: Job) -> Waits:
        call = None
        try:
            for call in calls:
                if (waits := call(job)) is not None:
                    return self._ask_rest(waits, calls[calls.index(call) :], job)
        except JobRefused:
            raise
        except Exception as exc:
            assert call is not None
            raise _failed(call, "failed", exc) from exc
        return None

    async def _ask_rest(self, waits: Awaitable[None], calls: Sequence[Call], job: Job) -> None:
        await self._awaited(calls[0], waits)
        if (more := self._ask(calls[1:], job)) is not None:
            await more

    async def _settle_rest(self, waits: Awaitable[None], n: int, session: Session, outcome: Outcome) -> None:
        more: Waits = waits
        while True:
            try:
                if more is not None:
                    await self._awaited(self._settle[n], more)
            except JobRefused as refusal:
                _log_unsettled(self._settle[n], session, refusal)
            if (n := n + 1) == len(self._settle):
                return
            more = self._settled(self._settle[n], session, outcome)

    def _settled(self, call: Call, session: Session, outcome: Outcome) -> Waits:
        try:
            return self._called(call, session, outcome)
        except JobRefused as refusal:
            _log_unsettled(call, session, refusal)
            return None

    def _called(self, call: Call, *args: object) -> Waits:
        try:
            return call(*args)
        except JobRefused:
            raise
        except Exception as exc:
            raise _failed(call, "failed", exc) from exc

    async def _awaited(self, call: Call, waits: Awaitable[None]) -> None:
        try:
            async with self._lag.timeout(self._timeout_s):
                await waits
        except JobRefused:
            raise
        except TimeoutError as exc:
            raise _failed(call, f"took longer than {self._timeout_s:g} s") from exc
        except Exception as exc:
            raise _failed(call, "failed", exc) from exc


async def awaited(waits: Awaitable[None]) -> None:
    """Make a coroutine of what a call of `Hooks` returned."""
    await waits


def _own(hooks: Sequence[JobHook], call: str) -> tuple[Call, ...]:
    """Return the calls of those hooks that have something to say there."""
    return tuple(getattr(hook, call) for hook in hooks if getattr(type(hook), call) is not getattr(JobHook, call))


def _names(call: Call) -> tuple[str, str]:
    return type(getattr(call, "__self__", None)).__name__, getattr(call, "__name__", "")


def _failed(call: Call, how: str, exc: Exception | None = None) -> JobRefused:
    hook, what = _names(call)
    if exc is not None:
        log.error("hook_failed", hook=hook, call=what, exc_info=exc)
    return JobRefused(Code.HOOK_FAILED, f"cannot {what} the job: {hook} {how}")


def _log_unsettled(call: Call, session: Session, refusal: JobRefused) -> None:
    log.error("settle_failed", hook=_names(call)[0], session=session.id, error=refusal.message)
