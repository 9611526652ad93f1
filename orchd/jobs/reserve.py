"""Begins the sessions that orchd sells itself. Of one that a client reserves, up to its answer:

    hooks.identify (before) -> slot -> registered, pending -> hooks.admit -> carried by a stream, on the disk -> answer

Whatever breaks off on the way (a hook's refusal, a caller that leaves, a drain) takes back all of it at one place: the
end of the request (`JobEnding.end`) or, once a stream carries the session, the end of that. What was paid by then stays
with the session's id, and is good for the next one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.money import PriceUnit
from orchd.domain.outcomes import Outcome
from orchd.domain.random_names import new_session_id
from orchd.domain.sold import Bought
from orchd.doors.routes import Reserve
from orchd.errors import Code, JobRefused, StoreError
from orchd.jobs.run import Run
from orchd.jobs.slots import SlotTaker
from orchd.jobs.whole_body import whole_body
from orchd.realtime.keeper import Keeper
from orchd.realtime.stream import Stream
from orchd.relay.ports import CallerGone
from orchd.sessions.session import Session, SessionKind

if TYPE_CHECKING:  # Where orchd sells none, nothing of the part is imported.
    from orchd.sold.keeper import SoldKeeper
    from orchd.sold.live import LiveSession

log = structlog.get_logger("orchd.sold")

MAX_BODY_BYTES = 1024 * 1024
"""Nobody reads it: a client may send the parameters of its job along."""


class Seller:
    """Serves requests to reserve a session, and notes the jobs that are sessions by themselves.

    Args:
        sold: keeps the sessions; None = there is no door by which any could begin.
        keeper: carries the sessions, as streams.
        slots: takes their slots.
        admit: asks the hooks that take what a session costs.
        began: a stream is charged for from now on.
        body_timeout_s: idle timeout in seconds of a request's body.
    """

    def __init__(
        self,
        sold: SoldKeeper | None,
        keeper: Keeper,
        slots: SlotTaker,
        admit: Callable[[Run], Awaitable[None]],
        began: Callable[[Stream], None],
        body_timeout_s: float,
    ) -> None:
        self._keeps = sold
        self._keeper = keeper
        self._slots = slots
        self._admit = admit
        self._began = began
        self._body_timeout_s = body_timeout_s

    @property
    def _sold(self) -> SoldKeeper:
        assert self._keeps is not None
        return self._keeps

    def lines(self, session: LiveSession) -> bytes:
        """Return what a runner is told of a session, as lines of a head."""
        return self._sold.lines(session)

    def sell(self, run: Run, key: ModelKey) -> Session:
        """Take the slot of a job that is a session. Its end is noted with the job's (`JobEnding.end`).

        Raises:
            JobRefused: as `SlotTaker.at_once`.
            Refusal: 409: one with its id lives.
        """
        slot, run.sold = self._take(run, key, SessionKind.JOB)
        return slot

    def begun(self, run: Run) -> None:
        """A job that is a session is admitted: its time counts from now on."""
        assert run.sold is not None
        self._sold.begun(run.sold)

    async def reserve(self, run: Run, way: Reserve) -> None:
        """Answer a request to reserve one; its hooks have identified it.

        Raises:
            JobRefused: no slot is free (CAPACITY_EXHAUSTED), the model is cold (NOT_READY; it is started), or a hook
                refuses. Nothing was taken for it, unless a hook has done so.
            CallerGone.
        """
        if len(await whole_body(run, MAX_BODY_BYTES, self._body_timeout_s)) > MAX_BODY_BYTES:
            raise JobRefused(
                Code.BODY_TOO_LARGE, f"cannot take the body: a request for a session has at most {MAX_BODY_BYTES} bytes"
            )
        slot, sold = self._take(run, way.key, SessionKind.STREAM)
        run.sold = sold
        try:
            await self._admit(run)
            run.admitted = True
            await self._carry(run, sold, slot)
            answer = way.answer(sold.id)
        except BaseException as exc:
            outcome = Outcome.CLIENT_GONE if isinstance(exc, CallerGone) else Outcome.ABORTED
            sold.end(outcome, "its reservation was not answered")
            raise
        run.counts = False
        run.status = answer.status
        run.caller.answer(
            answer.status, [*answer.headers, (b"Livepeer-Request-Id", run.request_id.encode())], answer.body
        )

    def _take(self, run: Run, key: ModelKey, kind: SessionKind) -> tuple[Session, LiveSession]:
        """Take a slot and note the session in it; the end of the request gives back both, until a stream carries them.

        Raises:
            JobRefused: as `SlotTaker.at_once`.
            Refusal: 409: one with its id lives.
        """
        job, slot = run.job, self._slots.at_once(run, key, kind)
        terms = job.terms
        bought = Bought(job.payer, job.account_id, terms is not None and terms.unit is PriceUnit.FIXED)
        persistent = kind is SessionKind.STREAM
        return slot, self._sold.reserve(
            job.session_id or new_session_id(), slot, bought, run.abort, persistent=persistent
        )

    async def _carry(self, run: Run, sold: LiveSession, slot: Session) -> None:
        """Have a stream carry the session, and that on the disk."""
        stream = run.stream = self._keeper.hold(sold.id, run.door.origin, slot)
        self._keeper.request_began(stream, run.abort)
        self._sold.carried(sold, stream)
        try:
            await run.outside(self._keeper.keep(stream))
        except StoreError as exc:
            raise JobRefused(
                Code.NOT_READY, f"cannot begin a session of {sold.key}: it can't be kept over a restart: {exc.message}"
            ) from exc
        self._sold.begun(sold)
        self._began(stream)
        log.info(
            "session_began",
            pipeline=sold.key.pipeline,
            model_id=sold.key.model_id,
            session=sold.id,
            free=not sold.payer,
            replica=slot.runner.replica,
        )
