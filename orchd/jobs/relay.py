"""Pass a job to its runner and the answer to the caller, both ways at once, piece by piece.

What is waited for now is told to the job's fuse, so that whoever is late is named. Until the answer begins, the
upload tells (a slow upload is not a slow runner); from then on the download does, and a piece either way renews it.
"""

from __future__ import annotations

import asyncio

import structlog

from orchd.domain.ids import Address
from orchd.domain.model import Model
from orchd.errors import Code, JobRefused
from orchd.jobs.ports import Exchange, RunnerBroke, RunnerClient, RunnerUnreachable
from orchd.jobs.request import to_caller, to_runner
from orchd.jobs.run import Run
from orchd.settings import JobsSettings
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.jobs")

MIB = 1024 * 1024


class Relay:
    def __init__(self, settings: JobsSettings, runners: RunnerClient) -> None:
        self._settings = settings
        self._runners = runners

    async def pass_on(self, run: Run, address: Address, model: Model, target: str) -> None:
        """Return when the whole answer has reached the caller.

        Raises:
            JobRefused: BACKEND_UNAVAILABLE, BACKEND_BROKE, BACKEND_TIMEOUT, or what is wrong with the caller's body.
            CallerGone.
        """
        try:
            await self._pass_on(run, address, model, target)
        except RunnerUnreachable as exc:
            raise JobRefused(Code.BACKEND_UNAVAILABLE, f"cannot reach the runner of {model.key}: {exc}") from exc
        except RunnerBroke as exc:
            raise JobRefused(Code.BACKEND_BROKE, f"cannot finish the job: the runner of {model.key} {exc}") from exc

    async def _pass_on(self, run: Run, address: Address, model: Model, target: str) -> None:
        caller = run.caller
        seconds = self._settings.connect_timeout_s
        message = f"cannot reach the runner of {model.key}: no connection within {seconds:g} s"
        run.fuse.within(seconds, Code.BACKEND_UNAVAILABLE, message)
        exchange = await self._runners.connect(address)
        upload: asyncio.Task[None] | None = None
        try:
            token = model.token.value if model.token else None
            headers = to_runner(caller.headers, token=token, upgrade=caller.upgrade)
            self._await_answer(run, model)
            await exchange.request(caller.method, target, headers, has_body=caller.has_body, length=caller.length)
            if caller.has_body:
                upload = spawn(self._upload(run, model, exchange), name=f"upload of job {run.request_id}")
            answer = await exchange.answer()
            run.answered(answer.status)
            switched = answer.status == 101
            if switched and not caller.upgrade:
                raise RunnerBroke("switched protocols unasked")
            self._await_caller(run)
            reply = to_caller(answer.headers, request_id=run.request_id, upgrade=switched)
            await caller.start(answer.status, answer.reason, reply)
            if switched:
                upload = spawn(self._upload(run, model, exchange), name=f"tunnel of job {run.request_id}")
            await self._download(run, exchange)
        finally:
            exchange.close()
            if upload is not None and not upload.done():
                await cancel(upload)

    async def _upload(self, run: Run, model: Model, exchange: Exchange) -> None:
        """What is the caller's fault cuts the job; what is the runner's shows in its answer."""
        try:
            piece = run.ahead
            while True:
                if piece:
                    run.bytes_in += len(piece)
                    if not run.caller.upgrade:
                        check_size(model, run.bytes_in)
                    self._await_answer(run, model)
                    await exchange.write(piece)
                    run.moved()
                self._await_caller(run)
                if not (piece := await run.caller.read()):
                    break
            self._await_answer(run, model)
            await exchange.finish()
        except RunnerBroke as exc:
            log.debug("upload_stopped", request_id=run.request_id, error=str(exc))
            self._await_answer(run, model)
        except Exception as exc:  # noqa: BLE001 - it is raised again where the job ends
            run.fuse.cut(exc)

    async def _download(self, run: Run, exchange: Exchange) -> None:
        seconds = self._settings.between_bytes_timeout_s
        late = f"cannot go on: the runner moved no byte for {seconds:g} s"
        stalled = f"cannot go on: the caller took no byte for {seconds:g} s"
        while True:
            run.fuse.within(seconds, Code.BACKEND_TIMEOUT, late)
            piece = await exchange.read()
            run.moved()
            run.fuse.within(seconds, Code.BODY_STALLED, stalled)
            if not piece:
                return await run.caller.finish()
            run.bytes_out += len(piece)
            await run.caller.write(piece)
            run.moved()

    def _await_answer(self, run: Run, model: Model) -> None:
        if run.status:
            return run.fuse.again()
        seconds = model.inference.timeout_s
        message = f"cannot wait longer: the runner of {model.key} gave no answer for {seconds:g} s"
        return run.fuse.within(seconds, Code.BACKEND_TIMEOUT, message)

    def _await_caller(self, run: Run) -> None:
        if run.status:
            return run.fuse.again()
        seconds = self._settings.between_bytes_timeout_s
        message = f"cannot go on: the caller sent no byte of the body for {seconds:g} s"
        return run.fuse.within(seconds, Code.BODY_STALLED, message)


def check_size(model: Model, size: int) -> None:
    """Raises:
    JobRefused: BODY_TOO_LARGE, `size` bytes are more than the model takes.
    """
    limit = model.inference.max_body_mb
    if limit and size > limit * MIB:
        raise JobRefused(Code.BODY_TOO_LARGE, f"cannot take the body: {model.key} takes at most {limit} MiB")
