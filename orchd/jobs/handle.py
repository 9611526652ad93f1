"""Every decision about one job, in order. Knows callers and runners only by `jobs.ports`.

    route -> hooks.identify -> slot, or a place in the queue of a cold model -> hooks.admit -> 100 Continue
          -> request and answer, streaming -> slot free -> settled

`Handler.handle` is the one place where a job ends: whatever happens in `_serve` (answer complete, refusal, time-out,
cut, the caller's leaving, which is a cancel) comes out of it as at most one exception, is judged once, and frees the
slot in the same step.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.errors import Code, JobRefused
from orchd.jobs.body import READ_AHEAD_BYTES, model_id_in
from orchd.jobs.hooks import Hooks, Job
from orchd.jobs.ports import Caller, CallerGone, RunnerClient
from orchd.jobs.refusal import rendered
from orchd.jobs.relay import Relay, check_size
from orchd.jobs.request import AskBody, HealthAsked, ToRunner, batch_route, route
from orchd.jobs.run import Aborted, Run
from orchd.sessions.session import Outcome, Session, SessionKind
from orchd.sessions.table import SessionTable
from orchd.settings import JobsSettings
from orchd.tasks import spawn

log = structlog.get_logger("orchd.jobs")

OUTCOMES = {
    Code.BACKEND_UNAVAILABLE: Outcome.BACKEND_FAILED,
    Code.BACKEND_BROKE: Outcome.BACKEND_FAILED,
    Code.BACKEND_TIMEOUT: Outcome.TIMEOUT,
    Code.BODY_STALLED: Outcome.TIMEOUT,
    Code.INTERNAL: Outcome.ERROR,
}
RUNNERS_FAULT = frozenset({Code.BACKEND_UNAVAILABLE, Code.BACKEND_BROKE, Code.BACKEND_TIMEOUT})


class JobMetrics(Protocol):
    def job_finished(
        self,
        key: ModelKey | None,
        outcome: str,
        code: str,
        *,
        total_s: float,
        first_byte_s: float | None,
        held_s: float,
    ) -> None: ...


class Handler:
    """Args:
    models: what is served now.
    status: (ready, why not) of a model, for `/models/.../health`.
    hurry: a job failed on this runner; probe it soon.
    """

    def __init__(
        self,
        *,
        settings: JobsSettings,
        table: SessionTable,
        models: Callable[[], Mapping[ModelKey, Model]],
        status: Callable[[ModelKey], tuple[bool, str]],
        hooks: Hooks,
        runners: RunnerClient,
        metrics: JobMetrics,
        hurry: Callable[[RunnerId], None],
    ) -> None:
        self._settings = settings
        self._table = table
        self._models = models
        self._status = status
        self._hooks = hooks
        self._relay = Relay(settings, runners)
        self._metrics = metrics
        self._hurry = hurry
        self._running: set[Run] = set()
        self._accounts: set[asyncio.Task[None]] = set()
        self._idle = asyncio.Event()
        self._idle.set()
        self._leaving = False

    def refuse_new(self) -> None:
        """From now on, new jobs get 503 SHUTTING_DOWN."""
        self._leaving = True

    def abort_all(self, reason: str) -> None:
        """Cut every job; each ends as soon as it is its turn."""
        for run in self._running:
            run.fuse.cut(Aborted(Code.SHUTTING_DOWN, f"cannot go on: {reason}"))

    async def idle(self) -> None:
        """Wait until no job runs and every session is settled."""
        await self._idle.wait()

    async def handle(self, caller: Caller) -> None:
        """Serve one request to its end. Cancel it when the caller has left.

        Raises:
            CancelledError: only if it was cancelled.
        """
        run = Run(caller)
        self._running.add(run)
        self._idle.clear()
        refusal: JobRefused | None = None
        try:
            async with run.fuse:
                await self._serve(run)
        except JobRefused as exc:
            refusal = exc
            self._end(
                run, Outcome.ABORTED if isinstance(exc, Aborted) else OUTCOMES.get(exc.code, Outcome.REFUSED), exc
            )
        except (CallerGone, asyncio.CancelledError) as exc:
            self._end(run, Outcome.CLIENT_GONE)
            if isinstance(exc, asyncio.CancelledError):
                raise
        except Exception as exc:
            log.error("job_crashed", request_id=run.request_id, exc_info=exc)
            refusal = JobRefused(Code.INTERNAL, "cannot serve the job: a fault in orchd; its log says more")
            self._end(run, Outcome.ERROR, refusal)
        else:
            self._end(run, Outcome.OK)
        if refusal is not None and caller.started:
            caller.break_off()
        elif refusal is not None:
            await self._refuse(run, refusal)

    def _end(self, run: Run, outcome: Outcome, refusal: JobRefused | None = None) -> None:
        """Free the slot, let the hooks settle, tell log and metrics. One step, once per job."""
        session, code = run.session, refusal.code if refusal else ""
        if session is not None and run.ended is not None:
            self._table.end(session, outcome)
            run.ended.set_result(outcome)
            if code in RUNNERS_FAULT:
                self._hurry(session.runner)
        if run.counts:
            self._metrics.job_finished(
                run.key, outcome, code, total_s=run.age_s, first_byte_s=run.first_byte_s, held_s=run.held_s
            )
            log.info(
                "job_done",
                request_id=run.request_id,
                pipeline=run.key.pipeline if run.key else "",
                model_id=run.key.model_id if run.key else "",
                replica=session.runner.replica if session else None,
                outcome=str(outcome),
                code=str(code),
                reason=refusal.message if refusal else "",
                status=run.status or (refusal.status if refusal else 0),
                bytes_in=run.bytes_in,
                bytes_out=run.bytes_out,
                held_s=round(run.held_s, 4),
                first_byte_s=None if run.first_byte_s is None else round(run.first_byte_s, 4),
                total_s=round(run.age_s, 4),
            )
        self._running.discard(run)
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if not self._running and not self._accounts:
            self._idle.set()

    async def _refuse(self, run: Run, refusal: JobRefused) -> None:
        headers, body = rendered(refusal, run.request_id)
        try:
            await run.caller.answer(refusal.status, headers, body)
        except CallerGone:
            log.debug("refusal_unread", request_id=run.request_id)

    async def _serve(self, run: Run) -> None:
        """Raises: JobRefused, CallerGone. Anything else is a bug."""
        caller = run.caller
        if self._leaving:
            raise JobRefused(Code.SHUTTING_DOWN, "cannot take the job: orchd is shutting down")
        models = self._models()
        way = route(caller.method, caller.target, caller.headers, models)
        if isinstance(way, HealthAsked):
            return await self._health(run, way.key)
        if isinstance(way, AskBody):
            way = await self._ask_body(run, way, models)
        key = run.key = way.key
        model = models[key]
        if model.stream.post_starts_stream and caller.method == "POST":
            raise JobRefused(
                Code.STREAMS_UNSUPPORTED,
                f"cannot start a stream of {key}: a POST to this kind of container starts a realtime stream, and orchd "
                "does not carry those yet",
            )
        check_size(model, caller.length or 0)
        job = Job(run.request_id, key, caller.method, caller.target, caller.headers, caller.peer, run.began_at)
        await self._hooks.identify(job)
        session = await self._slot(run, job)
        await self._hooks.admit(job)
        await caller.proceed()
        return await self._relay.pass_on(run, session.address, model, way.target)

    async def _health(self, run: Run, key: ModelKey) -> None:
        run.counts = False
        ready, reason = self._status(key)
        if not ready:
            raise JobRefused(Code.NOT_READY, f"cannot begin a session of {key}: {reason}")
        headers = (("Content-Type", "application/json"), ("Livepeer-Request-Id", run.request_id))
        await run.caller.answer(200, headers, b'{"status":"ok"}')

    async def _ask_body(self, run: Run, way: AskBody, models: Mapping[ModelKey, Model]) -> ToRunner:
        """Read ahead until the body ends or the bound is reached, and look for the model in what there is."""
        caller = run.caller
        seconds = self._settings.between_bytes_timeout_s
        message = f"cannot tell the model: the caller sent no byte of the body for {seconds:g} s"
        complete = not caller.has_body
        if caller.has_body:
            await caller.proceed()
        while not complete and len(run.ahead) < READ_AHEAD_BYTES:
            run.fuse.within(seconds, Code.BODY_STALLED, message)
            piece = await caller.read(READ_AHEAD_BYTES - len(run.ahead))
            run.ahead += piece
            complete = not piece
        run.fuse.within(None)
        content_type = next((value for name, value in caller.headers if name.lower() == "content-type"), "")
        named = model_id_in(content_type, run.ahead, complete=complete)
        if named is None:
            raise JobRefused(
                Code.MODEL_NOT_NAMED,
                f"cannot tell the model: {' and '.join(sorted(way.pipelines))} has several; name one in the header "
                f"X-Model-Id, or as model_id in the first {READ_AHEAD_BYTES // 1024} KiB of a JSON or form body",
            )
        return batch_route(way.pipelines, named, caller.target, models)

    async def _slot(self, run: Run, job: Job) -> Session:
        """Take a slot, at once or after a wait in the queue; `_end` gives it back, whatever happens from here on."""
        taken = self._table.begin(job.key, SessionKind.JOB)
        if isinstance(taken, Session):
            return self._took(run, job, taken)
        result: asyncio.Future[Session | JobRefused] = asyncio.get_running_loop().create_future()

        def resolve(what: Session | JobRefused) -> None:
            # The slot is ours in this very step, even if the job is cut or cancelled before it wakes.
            if isinstance(what, Session):
                self._took(run, job, what)
            if not result.done():
                result.set_result(what)

        taken.resolve = resolve
        queued_s = run.age_s
        seconds = self._settings.hold_timeout_s
        message = f"cannot begin a session of {job.key}: it was not ready within {seconds:g} s"
        run.fuse.within(seconds, Code.HOLD_TIMEOUT, message)
        try:
            got = await result
        finally:
            self._table.leave(taken)
            run.held_s = run.age_s - queued_s
        run.fuse.within(None)
        if isinstance(got, JobRefused):
            raise got
        return got

    def _took(self, run: Run, job: Job, session: Session) -> Session:
        run.session = job.session = session
        run.ended = asyncio.get_running_loop().create_future()
        session.abort = lambda reason: run.fuse.cut(Aborted(Code.DRAINING, f"cannot go on: {reason}"))
        account = spawn(
            self._hooks.account(
                job, run.ended, lambda no: run.fuse.cut(Aborted(no.code, no.message, retry_after_s=no.retry_after_s))
            ),
            name=f"account of session {session.id}",
        )
        self._accounts.add(account)
        account.add_done_callback(self._settled)
        return session

    def _settled(self, account: asyncio.Task[None]) -> None:
        self._accounts.discard(account)
        self._tell_if_idle()
