"""Every decision about one job, in order. Knows callers and runners only by `relay.ports`.

    route -> hooks.arrive -> model (from the body, if the head doesn't name it) -> hooks.identify
          -> slot, or a place in the queue of a cold model -> hooks.admit -> 100 Continue
          -> a connection to the runner -> request and answer, streaming -> slot free, or letting go -> settled

`_flow` is the one place where a job ends: whatever happens in `_serve` (answer complete, refusal, timeout, cut, the
caller's leaving) comes out of it as at most one exception, is judged once, and in the same step (`ending`) the slot is
freed, or lets go: it stays taken while the runner may still be at work (`sessions.letting_go`), but the job is over.
"""

from __future__ import annotations

import asyncio

from orchd.domain.ids import ModelKey, new_ids
from orchd.domain.outcomes import Outcome
from orchd.doors.entrance import Entrance
from orchd.doors.own import OwnAnswer, OwnStream
from orchd.doors.routes import READ_AHEAD_BYTES, AskBody, Beside, HealthAsked, Reserve, Served, TrialAsked
from orchd.errors import Code, JobRefused
from orchd.hooks.calls import HookCalls, awaited
from orchd.jobs.accounts import Accounts
from orchd.jobs.asked_for import StreamsAskedFor
from orchd.jobs.body import model_id_in
from orchd.jobs.ending import JobEnding, JobListeners, break_off
from orchd.jobs.forward import Forwarder
from orchd.jobs.heads import request_id
from orchd.jobs.needs import JobClock, ModelFacts, SessionKeepers
from orchd.jobs.own import OwnAnswers
from orchd.jobs.own_lines import OwnLines
from orchd.jobs.own_streams import OwnStreams
from orchd.jobs.plan import Plan
from orchd.jobs.realtime import Realtime
from orchd.jobs.refused import answer_to, crashed
from orchd.jobs.reserve import Seller
from orchd.jobs.run import Aborted, Run
from orchd.jobs.settings import JobsSettings
from orchd.jobs.slots import SlotTaker
from orchd.jobs.stream_channels import StreamChannels
from orchd.jobs.verdict import judged, node_gave_up, outcome_of
from orchd.relay.ports import Caller, CallerGone, Carrier, TooMuch
from orchd.sessions.session import Session

OK = Outcome.OK  # Members of enums are slow to look up: each job needs this one.


class Handler:
    """Drives the flow of each job.

    Args:
        carrier: connections to runners.
        listeners: hear of each job's end.

    Attributes:
        ending: is told of the ends of streams, too.
    """

    def __init__(
        self,
        settings: JobsSettings,
        models: ModelFacts,
        sessions: SessionKeepers,
        hooks: HookCalls,
        carrier: Carrier,
        listeners: JobListeners,
        clock: JobClock,
    ) -> None:
        keeper, now = sessions.streams, clock.now
        self._settings = settings
        self._models = models.served
        self._facts = models
        self._table = sessions.table
        self._hooks = hooks
        self._now = now
        self._slots = SlotTaker(sessions.table, settings.hold_timeout_s, now)
        self._ids = new_ids()
        self._served = Served({})
        self._accounts = accounts = Accounts(hooks, keeper.end_soon, self._look_idle)
        self._asked_for = StreamsAskedFor(keeper, self._slots, sessions.sold)
        self._realtime = Realtime(
            keeper,
            self._asked_for,
            body_timeout_s=settings.between_bytes_timeout_s,
            admit=self._admit,
            began=accounts.charge_stream,
            channels=StreamChannels(sessions.node, sessions.own_channels),
            sold=sessions.sold,
        )
        self._seller = Seller(
            sessions.sold, keeper, self._slots, self._admit, accounts.charge_stream, settings.between_bytes_timeout_s
        )
        self._forward = Forwarder(settings, carrier, clock, self._seller.lines)
        self._own = OwnAnswers(self._arrive, settings.between_bytes_timeout_s, OwnLines(now))
        self._own_streams = OwnStreams(carrier, settings.between_bytes_timeout_s)
        self.ending = JobEnding(sessions, accounts, self._realtime, listeners, hooks, now)
        self._running: set[Run] = set()
        self._idle: asyncio.Event | None = None  # While somebody waits for it: else each job would have to set it.
        self._leaving = False

    def refuse_new(self) -> None:
        """From now on, new jobs get 503 SHUTTING_DOWN."""
        self._leaving = True

    def use_node(self, beside: Beside) -> None:
        """From now on, this is the node program beside orchd."""
        self._served = Served(self._served.models, beside)

    def abort_all(self, reason: str) -> None:
        """Cut every job; each ends as soon as it is its turn."""
        for run in (*self._running, *self._own_streams.runs):
            run.cut(Aborted(Code.SHUTTING_DOWN, f"cannot go on: {reason}"))

    async def idle(self) -> None:
        """Wait until no job runs and every session is settled."""
        while self._running or self._accounts:
            if self._idle is None:
                self._idle = asyncio.Event()
            await self._idle.wait()

    def running(self, key: ModelKey, door: str) -> int:
        """Return how many jobs of a model run that came by this door, those that wait for a slot included."""
        runs = (run.head.memo for run in self._running if run.key == key and run.door.name == door)
        return sum(isinstance(plan, Plan) and plan.call is None for plan in runs)

    def new_id(self) -> str:
        """Return a request id, for an answer to what is no job."""
        return next(self._ids)

    def handle(self, caller: Caller) -> None:
        """Serve the caller's `message`. Returns at once; `caller.done` is called when it has ended."""
        given = caller.message.head.value(b"livepeer-request-id")
        name = (request_id(given) if given else "") or next(self._ids)
        entrance: Entrance = caller.listener
        run = Run(caller, name, self._now, entrance.doors[-1])
        if entrance.peer_of is not None:
            run.peer = entrance.peer_of(caller.peer, run.head)
        run.terms = self._facts.terms
        caller.owner = run
        self._running.add(run)
        run.drive(self._flow(run))

    async def _flow(self, run: Run) -> None:
        caller = run.caller
        refusal: JobRefused | None = None
        gave_up: JobRefused | None = None
        try:
            await self._serve(run)
            outcome = OK
        except CallerGone:
            gave_up = node_gave_up(run, self._now())
            outcome = Outcome.CLIENT_GONE if gave_up is None else outcome_of(gave_up)
        except Exception as exc:  # noqa: BLE001 - judged here, and here alone
            refusal = judged(run, exc) or crashed(run, exc)
            outcome = outcome_of(refusal)
        if outcome is not OK and run.transfer is not None:
            self.ending.cut(run, run.transfer)
        self.ending.end(run, outcome, refusal or gave_up)
        run.transfer = None
        self._running.discard(run)
        if self._idle is not None:
            self._look_idle()
        if refusal is not None and not caller.answered:
            caller.answer(*answer_to(run, refusal))
        elif outcome is not OK:
            break_off(run, refusal)
        caller.done()

    def _look_idle(self) -> None:
        if self._idle is not None and not self._running and not self._accounts:
            self._idle.set()
            self._idle = None

    async def close(self) -> None:
        """Charge no more; streams go on without us."""
        await self._accounts.close()

    async def _serve(self, run: Run) -> None:
        """Raises: JobRefused, CallerGone, and what `verdict.judged` knows. Anything else is a bug."""
        if self._leaving:
            raise JobRefused(Code.SHUTTING_DOWN, "cannot take the job: orchd is shutting down")
        models, served, head, entrance = self._models(), self._served, run.head, run.caller.listener
        if served.models is not models:
            served = self._served = Served(models, served.beside)
        plan = head.memo
        if not isinstance(plan, Plan) or plan.served is not served or plan.entrance is not entrance:
            plan = await self._plan(run, served, entrance)
            if not plan.fleeting:
                head.memo = plan
        run.door = plan.door
        if isinstance(plan.way, OwnAnswer):
            return await self._own.answer(run, plan.way, entrance)
        if isinstance(plan.way, OwnStream):
            self._running.discard(run)  # It may last for hours: no shutdown waits for it.
            self._look_idle()
            return await self._own_streams.answer(run, plan.way, entrance)
        if plan.model is None and isinstance(plan.way, TrialAsked):
            return self._answer_trial(run, plan.way)
        run.begin_by = run.began_at + plan.first_byte_s
        if self._hooks.arriving:
            await self._arrive(run, plan)
        if plan.model is None:
            if isinstance(plan.way, HealthAsked):
                return await self._health(run, plan.way)
            plan = await self._plan_by_body(run, plan)
        run.model = model = plan.model
        run.way, way = plan.known, plan.job
        if plan.drops is not None:
            run.caller.drop(*plan.drops)
        keeper = entrance.own if way is None or plan.sells else None
        if keeper is not None:
            keeper.limit_address(run.peer) if way is None else keeper.check_address(run.peer)
        assert model is not None
        run.key = key = model.key
        if plan.most and (head.length or 0) > plan.most:
            raise TooMuch
        hooks = self._hooks
        try:
            if hooks.identifying and (waits := hooks.identify(run.job)) is not None:
                await run.outside(awaited(waits))
        except JobRefused:
            if keeper is not None and way is not None:  # To look at what pays for nothing costs more than to send it.
                keeper.limit_address(run.peer)
            raise
        if plan.refused is not None:
            raise JobRefused(*plan.refused)
        if way is None:
            assert isinstance(plan.way, Reserve)
            return await self._seller.reserve(run, plan.way)
        if plan.call is not None:
            return await self._realtime.serve(run, plan.call, way, model)
        if plan.in_session:
            session = await self._asked_for.ride(run, way)
        elif plan.sells:
            session = self._seller.sell(run, key)
        else:
            if hooks.arriving or hooks.identifying:
                self._slots.count(run, key)
            begun = self._table.begin(key, plan.kind)
            if isinstance(begun, Session):
                run.session = session = begun
                session.abort = run.abort
            else:
                session = await self._slots.wait(run, key, begun)
            if run.place is not None:
                self._slots.seat(run, session)
        if hooks.admitting or hooks.accounting:
            await self._admit(run)
        run.admitted = True
        if plan.sells:
            self._seller.begun(run)
        if hooks.charging and (run.stream is not None or not plan.in_session):
            self._accounts.charge(run, session)
        if head.expects:
            run.caller.proceed()
        return await self._forward.pass_on(run, session, plan)

    async def _arrive(self, run: Run, plan: Plan | None) -> None:
        """Ask the hooks before anything of the body is read. Who asks for health is no job's caller.

        Args:
            plan: None = the head names no model that there is.
        """
        run.way = None if plan is None else plan.known
        if run.door.open_health and isinstance(run.way, HealthAsked):
            return
        try:
            if (waits := self._hooks.arrive(run.job)) is not None:
                await run.outside(awaited(waits))
        except JobRefused:
            if run.way is not None:
                run.key = run.way.key  # For log and metrics.
            raise
        run.arrived = True

    async def _health(self, run: Run, way: HealthAsked) -> None:
        run.counts = False
        run.way, run.key = way, (key := way.key)
        if (
            not run.door.open_health
            and self._hooks.identifying
            and (waits := self._hooks.identify(run.job)) is not None
        ):
            await run.outside(awaited(waits))
        ready, reason = run.door.readiness(key, self._facts.readiness, self._facts.for_node)
        if not ready:
            raise JobRefused(Code.NOT_READY, f"cannot begin a session of {key}: {reason}")
        headers = [(b"Content-Type", b"application/json"), (b"Livepeer-Request-Id", run.request_id.encode())]
        run.caller.answer(200, headers, b'{"status":"ok"}')

    def _answer_trial(self, run: Run, way: TrialAsked) -> None:
        """Answer what only orchd knows; nobody but orchd has the word that asks for it, so no hook is asked."""
        run.counts = False
        answer = self._facts.trial(way.word)
        if answer is None:
            raise JobRefused(Code.NOT_OFFERED, "cannot serve the request: no such model is offered here now")
        run.caller.answer(200, [(b"Content-Type", b"text/plain")], answer)

    async def _plan(self, run: Run, served: Served, entrance: Entrance) -> Plan:
        """Return what follows from the head. `run.door` is known after that, unless no door takes the request.

        Raises:
            JobRefused: the head leads nowhere, or a hook refuses what came.
        """
        head = run.head
        try:
            target = entrance.below(head.target.decode("latin-1"))
            run.door = door = entrance.enter(target)
        except JobRefused:
            if entrance.own is None:
                await self._arrive(run, None)
            else:  # What scans the internet is nobody's job.
                run.counts = False
                entrance.own.not_found()
            raise
        try:
            return Plan(served, entrance, door, door.route(head, target, served), head)
        except JobRefused:
            await self._arrive(run, None)
            raise

    async def _plan_by_body(self, run: Run, plan: Plan) -> Plan:
        """Wait until the body ends or the bound is reached, and look for the model in what there is."""
        caller, head, way = run.caller, run.head, plan.way
        assert isinstance(way, AskBody)
        seconds = self._settings.between_bytes_timeout_s
        text = f"cannot tell the model: the caller sent no byte of the body for {seconds:g} s"
        run.within(seconds, Code.BODY_STALLED, lambda *_: text)
        caller.proceed()
        caller.collect(READ_AHEAD_BYTES)
        await run.wait()
        run.without_limit()
        message = caller.message
        ahead = b"".join(message.pieces)
        content_type = (head.value(b"content-type") or b"").decode("latin-1")
        complete = message.ended and len(ahead) <= READ_AHEAD_BYTES
        named = model_id_in(content_type, ahead[:READ_AHEAD_BYTES], complete=complete)
        target = plan.entrance.below(head.target.decode("latin-1"))
        asked = plan.door.by_body(way, named, target, plan.served)
        return Plan(plan.served, plan.entrance, plan.door, asked, head)

    async def _admit(self, run: Run) -> None:
        """Ask the hooks, and make the account of the session: also when one refuses, for those that took something."""
        hooks, session = self._hooks, run.session
        assert session is not None
        admitted = False
        try:
            await self._keep_account(run, session, admitted=False)
            if hooks.admitting and (waits := hooks.admit(run.job)) is not None:
                await run.outside(awaited(waits))
            await self._keep_account(run, session, admitted=True)
            admitted = True
        finally:
            if hooks.accounting:
                self._accounts.make(run, session, admitted=admitted)

    async def _keep_account(self, run: Run, session: Session, *, admitted: bool) -> None:
        """Have the account on the disk, where a hook asks for that."""
        books = self._hooks.books
        if books is not None and (keeping := self._accounts.keep(run, session, books, admitted=admitted)) is not None:
            await run.outside(keeping)
