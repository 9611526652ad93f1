"""Passes a job on to its runner, and the answer back to its caller. Knows both by `relay.ports` alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from orchd.domain.ids import Address
from orchd.domain.model import Model
from orchd.doors.base import NEVER
from orchd.doors.routes import ProxyDestination
from orchd.errors import Code
from orchd.http1.names import Memo
from orchd.http1.rules import AnswerHead, RequestHead
from orchd.jobs.early import EVENT_STREAM, accepted, check_late, early_answer
from orchd.jobs.heads import AnswerToCaller, host_line, to_runner
from orchd.jobs.needs import JobClock
from orchd.jobs.plan import Plan
from orchd.jobs.run import Run
from orchd.jobs.settings import JobsSettings
from orchd.jobs.verdict import explain_first_byte, explain_late
from orchd.relay.event_stream import EventsEnd
from orchd.relay.ports import Carrier, Connection, RunnerBroke
from orchd.sessions.session import Session

if TYPE_CHECKING:
    from orchd.sold.live import LiveSession


class Forwarder:
    """The last stage of a job's flow.

    Args:
        carrier: connections to runners.
        session_lines: returns what a runner is told of a session that orchd has sold.
    """

    def __init__(
        self,
        settings: JobsSettings,
        carrier: Carrier,
        clock: JobClock,
        session_lines: Callable[[LiveSession], bytes],
    ) -> None:
        self._session_lines = session_lines
        self._carrier = carrier
        self._now = clock.now
        self._date = clock.date
        self._connect_s = settings.connect_timeout_s
        self._hosts = Memo(host_line)
        between_s = settings.between_bytes_timeout_s
        self._patience: Memo[float, dict[Code, float]] = Memo(
            lambda answer_s: {
                Code.BODY_STALLED: between_s,
                Code.BACKEND_TIMEOUT: answer_s,
                Code.BACKEND_STALLED: between_s,
                Code.CALLER_STALLED: between_s,
            }
        )

    def request(self, head: RequestHead, address: Address, model: Model, plan: Plan, lines: bytes = b"") -> bytes:
        """Return the head that the runner gets.

        Args:
            lines: what it is told of the session.
        """
        # What a proxy leads to is not the runner for which the entry's token is meant.
        token = model.token.value if model.token and plan.elsewhere is None else None
        path = f"{address.base_path}{plan.target}".encode("latin-1")
        return to_runner(head, path, self._hosts[address], token=token, fates=plan.passing, lines=lines)

    async def pass_on(self, run: Run, session: Session, plan: Plan) -> None:
        """Return when the whole answer has reached the caller.

        Raises:
            RunnerUnreachable, RunnerBroke, CallerGone, TooMuch, JobRefused: as `verdict.judged` knows them.
        """
        model = plan.model
        assert model is not None
        elsewhere = plan.elsewhere
        address = session.address if elsewhere is None else elsewhere.address
        request = plan.requests.get(address)
        if request is None:
            lines = b"" if run.sold is None else self._session_lines(run.sold)
            request = self.request(run.head, address, model, plan, lines)
            if not plan.sells:  # Else the next one with the same head is another session.
                plan.requests[address] = request
        if plan.door.public and (told := plan.door.forwarded(run.head, run.peer, plan.entrance.scheme)):
            request = request[:-2] + told + b"\r\n"  # Others may send the same head.
        run.patience_s = self._patience[model.inference.timeout_s]
        connection = self._carrier.take(session.runner) if elsewhere is None else None
        while True:
            if connection is None:
                connection = await self._connect(run, session, elsewhere)
            run.explain = explain_late
            if plan.first_byte_s < NEVER or plan.early_s:
                self._begin_soon(run, plan, model.inference.timeout_s)
            transfer = run.transfer = self._carrier.carry(run, run.caller, connection, plan.most)
            transfer.send(request)
            try:
                answer: AnswerHead = await run.wait()
                break
            except RunnerBroke as exc:
                # Once more, on a new connection, if the runner can't have seen the job and we still have all of it.
                if not (exc.unseen and connection.reused and transfer.retained is not None) or run.caller.answered:
                    raise
                transfer.stop()
                run.caller.message.put_back(transfer.retained)
                run.forgive()
                connection = None
        run.status = answer.status
        now = self._now()
        run.first_byte_s = now - run.began_at
        session.progress_at = now
        if plan.early_s and run.caller.answered:
            check_late(answer, session.key)
            transfer.start(b"", chunked=True, events=run.events)
            await run.wait()
            return
        if answer.switches and not run.head.switches:
            raise RunnerBroke("switched protocols unasked")
        reply, keep_alive = plan.reply, run.caller.keeps_alive(answer)
        if reply is None or reply.answer is not answer or reply.keep_alive is not keep_alive:  # Else as last time.
            reply = plan.reply = self._reply(run, session, plan, answer, keep_alive=keep_alive)
        receipt = run.receipt
        if reply.events:
            run.events = plan.door.events(receipt)
        lines = plan.door.lines(receipt) if plan.door.public else b""
        head = reply.head(run.request_id, b"" if reply.dated else self._date.line(), lines)
        transfer.start(head, chunked=reply.chunked, events=run.events)
        await run.wait()

    def _begin_soon(self, run: Run, plan: Plan, timeout_s: float) -> None:
        """Bound how long the answer's head may take: by a head of our own, or by a refusal while the node listens."""
        waited_s = self._now() - run.began_at if run.caller.message.ended else 0.0
        left_s = max(0.0, plan.first_byte_s - waited_s)
        first_s = min(left_s, plan.early_s or NEVER)
        if first_s >= timeout_s:
            return
        run.patience_s = {**run.patience_s, Code.BACKEND_TIMEOUT: first_s}
        run.explain = explain_first_byte
        if plan.early_s:
            run.early = partial(self._head_early, run, timeout_s, first_s)

    def _head_early(self, run: Run, timeout_s: float, waited_s: float) -> None:
        """Send the caller a head of our own. The runner goes on to have as long as its entry says."""
        answer = early_answer(run.head)
        reply = AnswerToCaller(answer, run.head, keep_alive=run.caller.keeps_alive(answer))
        if accepted(run.head).lower() == EVENT_STREAM:
            run.events = EventsEnd(last=b"", most_line=0)
        run.patience_s = self._patience[timeout_s]
        run.within(timeout_s - waited_s, Code.BACKEND_TIMEOUT, explain_late)
        run.caller.write(reply.head(run.request_id, self._date.line()))

    def _reply(self, run: Run, session: Session, plan: Plan, answer: AnswerHead, *, keep_alive: bool) -> AnswerToCaller:
        """Return the head that the caller gets.

        Raises:
            JobRefused: the caller must not see this answer.
        """
        assert plan.job is not None
        shape = plan.door.shape(answer, run.head, plan.job, session.address)
        return AnswerToCaller(
            answer, run.head, keep_alive=keep_alive, events=shape.events, without=shape.without, extra=shape.extra
        )

    async def _connect(self, run: Run, session: Session, elsewhere: ProxyDestination | None) -> Connection:
        seconds = self._connect_s
        text = f"cannot reach the runner of {session.key}: no connection within {seconds:g} s"
        run.within(seconds, Code.BACKEND_CONNECT_TIMEOUT, lambda *_: text)
        if elsewhere is None:
            connecting = self._carrier.connect(session.runner, session.address)
        else:
            connecting = self._carrier.connect_elsewhere(elsewhere.address, elsewhere.may_dial)
        return await run.outside(connecting, late=self._carrier.give_back)
