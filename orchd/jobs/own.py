"""Requests that a door answers itself: bounded in rate, size and time, and counted apart from jobs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from orchd.doors.entrance import Entrance, OwnAnswerKeeper
from orchd.doors.own import Answered, OwnAnswer
from orchd.errors import Code, JobRefused
from orchd.hooks.job import Job
from orchd.jobs.own_lines import OwnLines
from orchd.jobs.run import Run
from orchd.relay.ports import CallerGone


@dataclass(slots=True)
class _Asked:
    """As `doors.own.OwnRequest`.

    Attributes:
        payer: as the door has named it; empty = it has not.
    """

    job: Job
    keeper: OwnAnswerKeeper
    body: bytes = b""
    payer: str = ""

    @property
    def seconds(self) -> float:
        return self.keeper.seconds

    def limit_payer(self, payer: str) -> None:
        self.payer = payer
        self.keeper.limit_payer(payer)


class OwnAnswers:
    """Has doors answer what is theirs to answer.

    Args:
        arrive: asks the hooks whether they may ask at all.
        between_bytes_s: idle timeout of a body.
        lines: tells what was refused.
    """

    def __init__(
        self, arrive: Callable[[Run, None], Coroutine[Any, Any, None]], between_bytes_s: float, lines: OwnLines
    ) -> None:
        self._arrive = arrive
        self._between_bytes_s = between_bytes_s
        self._lines = lines

    async def answer(self, run: Run, way: OwnAnswer, entrance: Entrance) -> None:
        """Serve one request, which is no job.

        Raises:
            JobRefused, CallerGone.
        """
        keeper = entrance.own
        assert keeper is not None
        run.counts = False
        if way.drops is not None:
            run.caller.drop(*way.drops)
        status = 500
        asked = _Asked(run.job, keeper)
        try:
            keeper.limit_address(run.peer)
            if way.hooks:
                await self._arrive(run, None)
            if way.body_bytes:
                asked.body = await self._body(run, way)
            answer = way.answer(asked)
            if not isinstance(answer, Answered):
                answer = await run.outside(_within(answer, keeper))
            status = answer.status
        except CallerGone:
            status = 0
            raise
        except JobRefused as refusal:
            status = run.door.told_status(refusal)
            self._lines.refused(run, way.name, asked.payer, refusal)
            raise
        finally:
            keeper.answered(run.door.name, way.name, status)
        run.caller.answer(
            answer.status, [*answer.headers, (b"Livepeer-Request-Id", run.request_id.encode())], answer.body
        )

    async def _body(self, run: Run, way: OwnAnswer) -> bytes:
        caller, seconds = run.caller, self._between_bytes_s
        if (run.head.length or 0) > way.body_bytes:
            raise _too_large(way)
        text = f"cannot answer: the caller sent no byte of the body for {seconds:g} s"
        run.within(seconds, Code.BODY_STALLED, lambda *_: text)
        caller.proceed()
        caller.collect(way.body_bytes + 1)
        await run.wait()
        run.without_limit()
        body = caller.message.take()
        if len(body) > way.body_bytes or not caller.message.ended:
            raise _too_large(way)
        return body


def _too_large(way: OwnAnswer) -> JobRefused:
    return JobRefused(Code.BODY_TOO_LARGE, f"cannot take the body: at most {way.body_bytes} bytes are read here")


async def _within(answer: Awaitable[Answered], keeper: OwnAnswerKeeper) -> Answered:
    try:
        async with keeper.timeout():
            return await answer
    except TimeoutError as exc:
        raise JobRefused(Code.ANSWER_LATE, f"cannot answer within {keeper.seconds:g} s; try again") from exc
