"""Takes the slot of a job or stream, or waits for it in the queue of a cold model."""

from __future__ import annotations

from collections.abc import Callable

from orchd.domain.ids import ModelKey
from orchd.errors import Code, JobRefused
from orchd.hooks.job import NO_LIMITS
from orchd.jobs.run import NEVER, Run
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import QueuePlace
from orchd.sessions.table import SessionTable

JOB = SessionKind.JOB  # Members of enums are slow to look up: each job needs this one.

STARTING_RETRY_S = 5
"""`Retry-After` of who is told that a model is being started."""


class SlotTaker:
    """What takes a slot for a run sets `run.session` in the same step, so that the end of the job gives it back.

    Args:
        hold_s: how long a job waits for a cold model, seconds.
        now: the table's clock, seconds.
    """

    def __init__(self, table: SessionTable, hold_s: float, now: Callable[[], float]) -> None:
        self._table = table
        self._hold_s = hold_s
        self._now = now

    def count(self, run: Run, key: ModelKey) -> None:
        """Count the session that the run asks for, as its payer's; see `Job.lower_limit`.

        What the node sends comes from one address, so there only a payer whom a hook has named is counted.

        Raises:
            JobRefused: this payer has as many as it may have.
        """
        job = run.job
        if (job.payer or job.limits is not NO_LIMITS) and (who := job.counts_for) is not None:
            run.place = self._table.payers.enter(who, key, job.limits)

    def seat(self, run: Run, session: Session) -> None:
        """The run has got its session, which counts from now on until its slot is free."""
        if session.place is None:
            session.place, run.place = run.place, None

    def at_once(self, run: Run, key: ModelKey, kind: SessionKind) -> Session:
        """Take a slot of a model that is ready; the end of the job gives it back unless a stream has taken it over.

        Raises:
            JobRefused: CAPACITY_EXHAUSTED; NOT_READY: the model is cold, and is started for who asks again.
        """
        self.count(run, key)
        begun = self._table.begin(key, kind)
        if not isinstance(begun, Session):
            self._table.leave(begun)
            self._table.want(key)
            raise JobRefused(
                Code.NOT_READY,
                f"cannot begin a session of {key}: it is being started; ask again",
                retry_after_s=STARTING_RETRY_S,
            )
        run.session = begun
        begun.abort = run.abort
        self.seat(run, begun)
        return begun

    async def for_stream(self, run: Run, key: ModelKey) -> Session:
        """Take a slot for a stream; the end of the job gives it back unless a stream has taken it over by then."""
        begun = self._table.begin(key, SessionKind.STREAM)
        if not isinstance(begun, Session):
            return await self.wait(run, key, begun)
        run.session = begun
        begun.abort = run.abort
        return begun

    async def wait(
        self, run: Run, key: ModelKey, place: QueuePlace, *, shared: bool = False, most_s: float = NEVER
    ) -> Session:
        """Wait in the queue of a cold model.

        Args:
            shared: the slot will be a stream's, and not the run's to give back.
            most_s: longest wait, seconds, if that is less than a job may wait.

        Raises:
            JobRefused: HOLD_TIMEOUT, or whatever the table says of the model.
        """

        def resolve(what: Session | JobRefused) -> None:
            # The slot is ours in this very step, even if the job is cut before it wakes.
            if isinstance(what, Session) and not shared:
                run.session = what
                what.abort = run.abort
            run.deliver_soon(what)

        place.resolve = resolve
        queued_at = self._now()
        may_s = min(self._hold_s, most_s)
        hold_s = min(may_s, max(0.0, run.begin_by - queued_at))
        within_s = may_s if hold_s == may_s else run.begin_by - run.began_at
        text = f"cannot begin a session of {key}: it was not ready within {within_s:g} s"

        def too_long(*_: object) -> str:
            why = self._table.reason(key)
            return f"{text}: {why}" if why else text

        run.within(hold_s, Code.HOLD_TIMEOUT, too_long)
        try:
            got = await run.wait()
        finally:
            self._table.leave(place)
            place.resolve = lambda what: None
            run.held_s = self._now() - queued_at
        run.without_limit()
        if isinstance(got, JobRefused):
            raise got
        assert isinstance(got, Session)
        return got
