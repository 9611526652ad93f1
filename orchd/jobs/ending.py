"""The end of a job: its runner is left, its slot is free or lets go, and log, metrics and hooks hear of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.outcomes import Outcome
from orchd.doors.refusal import told
from orchd.errors import Code, JobRefused
from orchd.hooks.account import Account
from orchd.hooks.calls import HookCalls
from orchd.hooks.counted import payer_of
from orchd.hooks.usage import Measured
from orchd.jobs.accounts import Accounts
from orchd.jobs.needs import SessionKeepers
from orchd.jobs.realtime import Realtime
from orchd.jobs.run import Run
from orchd.jobs.verdict import RUNNERS_FAULT, went_elsewhere
from orchd.realtime.stream import Stream, StreamEnd
from orchd.relay.ports import Transfer

OK, RUNNER_ERROR = Outcome.OK, Outcome.RUNNER_ERROR  # Members of enums are slow to look up: each job needs these.
UNANSWERED = (Outcome.CLIENT_GONE, Outcome.TIMEOUT)


class JobMetrics(Protocol):
    """Counts jobs, and what never became one."""

    def job_finished(
        self,
        key: ModelKey | None,
        outcome: str,
        code: str,
        total_s: float,
        first_byte_s: float | None,
        held_s: float,
        status: int = 0,
    ) -> None:
        """Count a job or stream that has ended."""

    def request_refused(self, code: Code) -> None:
        """Count a request that never became a job."""

    def connection_closed(self, reason: str) -> None:
        """Count a caller's connection that we closed."""


class JobLog(Protocol):
    """The lines of jobs."""

    def done(self, run: Run, outcome: Outcome, refusal: JobRefused | None, total_s: float) -> None:
        """Write the line of a job that has ended."""


def _unheard(key: ModelKey, door: str) -> None:
    """Nobody wants to know."""


@dataclass(frozen=True, slots=True)
class JobListeners:
    """Who hears of a job's end.

    Attributes:
        hurry: a job failed on this runner; probe it soon.
        unanswered: a job of this model, by this door, has ended because its caller left or a timeout ran out, before
            the runner has begun to answer it.
    """

    metrics: JobMetrics
    log: JobLog
    hurry: Callable[[RunnerId], None]
    unanswered: Callable[[ModelKey, str], None] = _unheard


class JobEnding:
    """Each method is one step, once for each job or stream.

    Args:
        now: the table's clock, seconds.
    """

    def __init__(
        self,
        sessions: SessionKeepers,
        accounts: Accounts,
        realtime: Realtime,
        listeners: JobListeners,
        hooks: HookCalls,
        now: Callable[[], float],
    ) -> None:
        self._table = sessions.table
        self._letting_go = sessions.letting_go
        self._sold = sessions.sold
        self._accounts = accounts
        self._realtime = realtime
        self._metrics = listeners.metrics
        self._log = listeners.log
        self._hurry = listeners.hurry
        self._unanswered = listeners.unanswered
        self._hooks = hooks
        self._now = now

    def cut(self, run: Run, transfer: Transfer) -> None:
        """Leave the runner; if it may work on for this job, the slot is not free before that is over."""
        rest = transfer.cut()
        if rest is None:
            return
        if went_elsewhere(run):
            rest.close()
            return
        assert run.session is not None
        assert run.model is not None
        letting_go = self._letting_go
        seconds = run.model.inference.timeout_s
        work = letting_go.cut(run.session, seconds, watched=rest.watched, close=rest.close)
        rest.watch(lambda: letting_go.finished(work), lambda: letting_go.lost(work))

    def end(self, run: Run, outcome: Outcome, refusal: JobRefused | None) -> None:
        """Free the slot, or let it go; tell log and metrics; let the hooks settle."""
        now = self._now()
        if run.place is not None:
            run.place.leave()
        session, total_s = run.session, now - run.began_at
        if outcome is OK and 500 <= run.status <= 599:
            outcome = RUNNER_ERROR
        if session is not None and refusal is not None and refusal.code in RUNNERS_FAULT and not went_elsewhere(run):
            self._hurry(session.runner)
        if outcome in UNANSWERED and not run.status and run.stream is None and run.key is not None:
            self._unanswered(run.key, run.door.name)
        if run.stream is not None:
            self._leave_stream(run, outcome, now)
            session = None
        elif run.sold is not None and self._sold is not None:
            began_it = self._sold.leave(run.sold, run.abort, f"its job has ended: {outcome}")
            session = session if began_it else None
        if session is not None:
            if outcome is OK:
                self._table.end(session, outcome)
            else:
                self._letting_go.end(session, outcome)
        code = "" if refusal is None else refusal.code
        if run.counts:
            self._metrics.job_finished(run.key, outcome, code, total_s, run.first_byte_s, run.held_s, run.status)
            self._log.done(run, outcome, refusal, total_s)
        if session is not None and self._hooks.settling:
            session.served = Measured(now - session.began_at, run.first_byte_s, run.status, run.held_s, code)
            self._accounts.settle(run, session, outcome)

    def _leave_stream(self, run: Run, outcome: Outcome, now: float) -> None:
        """The stream stays. If hooks are still being asked about its start, that ends first."""
        assert run.stream is not None
        session = run.stream.session
        if run.status:
            session.progress_at = now
        if run.status and not session.served.status:
            first_byte_s = now - run.began_at if run.first_byte_s is None else run.first_byte_s
            session.served = Measured(0.0, first_byte_s, run.status, run.held_s)
        if run.outer is None or run.outer.done():
            return self._realtime.ended(run, outcome)
        return run.outer.add_done_callback(lambda _: self._realtime.ended(run, outcome))

    def settle_left(self, waited_for: set[str]) -> None:
        """See `Accounts.settle_left`."""
        self._accounts.settle_left(waited_for)

    def stream_lost(self, account: Account, forgotten: asyncio.Task[None]) -> None:
        """Settle the account of a stream that was not found again after a restart."""
        self._accounts.settle_lost(account, forgotten)

    def stream_found(self, stream: Stream) -> None:
        """Charge for a stream that was found again, as before the restart."""
        self._realtime.found(stream)
        account, books = stream.session.account, self._hooks.books
        used_s = None if books is None or account is None else books.used_before(account.id)
        # Where it is known what was used, the time without orchd is not charged.
        stream.session.began_at = stream.began_at if used_s is None else self._now() - used_s
        if account is not None and account.payer:
            stream.session.place = self._table.payers.enter(payer_of(account.payer, ""), stream.key)
        self._accounts.charge_stream(stream)

    def stream_ended(self, end: StreamEnd) -> None:
        """Count it and settle its account; its slot is free, or letting go."""
        stream, outcome = end.stream, end.outcome
        if stream.ran:
            self._metrics.job_finished(stream.key, outcome, "", self._now() - stream.began_at, None, 0.0)
        served, now = stream.session.served, self._now()
        if stream.found and not served.status:
            served = Measured(0.0, 0.0)  # To an earlier orchd.
        stream.session.served = served._replace(seconds=now - stream.session.began_at)
        self._accounts.settle_stream(stream, outcome, end.forgotten)


def break_off(run: Run, refusal: JobRefused | None) -> None:
    """End an answer that has begun so that it can't look complete."""
    events = run.events
    if refusal is None or events is None or refusal.code is Code.CALLER_STALLED or not run.head.modern:
        run.caller.break_off()
    else:
        run.caller.finish(events.ending(told(refusal), refusal.word))
