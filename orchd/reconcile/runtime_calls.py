"""RuntimeCalls to the runtimes, each as a task whose end is news to the loop. Decides nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any

import structlog

from orchd import tasks
from orchd.domain.ids import RunnerId
from orchd.domain.model import ContainerLaunch, Model, StopSpec
from orchd.domain.ports import Prober, Runtime, StopReport
from orchd.domain.redact import scrub, secrets_of
from orchd.domain.runs import EndedRun
from orchd.domain.runtime_id import RuntimeId
from orchd.errors import PASSING, Code, EngineUnavailable, OrchdError
from orchd.reconcile.call_results import (
    CallResult,
    CheckDone,
    CheckFailed,
    LaunchFailed,
    PrepareDone,
    PrepareProgress,
    RunnerEnded,
    RunnerEndFailed,
    StartDone,
    StrayRemoval,
    UnpauseDone,
)
from orchd.reconcile.hints import how_it_ended
from orchd.reconcile.runner import Runner

log = structlog.get_logger("orchd.reconcile")

LOG_LINES = 20
"""Last lines kept of a runner that ended."""


class RuntimeCalls:
    """One call at a time per runner; the loop sees to that by `Runner.busy`."""

    def __init__(
        self, runtimes: Mapping[RuntimeId, Runtime], prober: Prober, post: Callable[[CallResult], None]
    ) -> None:
        self._runtimes = runtimes
        self._prober = prober
        self._post = post
        self._tasks: dict[RunnerId, asyncio.Task[Any]] = {}
        self._checks: dict[RunnerId, asyncio.Task[Any]] = {}
        self._strays: dict[str, asyncio.Task[Any]] = {}

    def prepare(self, runner: Runner, *, checked: bool = False) -> None:
        """Answers with PrepareDone or LaunchFailed; tells PrepareProgress.

        Args:
            checked: what it needs was got a moment ago.
        """
        runtime = self._runtime_of(runner)
        model = _without_pull(runner.model) if checked else runner.model

        async def call() -> None:
            self._post(PrepareDone(runner.id, await runtime.prepare(model, runner.id, self._progress(runner.id))))

        self._run(runner.id, "prepare", call)

    def check(self, runner: Runner) -> None:
        """Answers with CheckDone or CheckFailed; tells PrepareProgress. Other calls about it go on meanwhile."""
        runtime = self._runtime_of(runner)

        async def call() -> None:
            try:
                await runtime.check(runner.model, self._progress(runner.id))
                self._post(CheckDone(runner.id))
            except OrchdError as exc:
                self._post(CheckFailed(runner.id, exc.message, blameless=_away(exc)))
            finally:
                if self._checks.get(runner.id) is task:
                    del self._checks[runner.id]

        task = self._checks[runner.id] = tasks.spawn(call(), name=f"check {runner.id}")

    def _progress(self, id: RunnerId) -> Callable[[str], None]:
        loop = asyncio.get_running_loop()

        def progress(text: str) -> None:  # runtimes may call this from their own threads
            loop.call_soon_threadsafe(self._post, PrepareProgress(id, text))

        return progress

    def start(self, runner: Runner) -> None:
        """Answers with StartDone or LaunchFailed."""
        runtime, handle = self._runtime_of(runner), runner.handle
        assert handle is not None

        async def call() -> None:
            self._post(StartDone(runner.id, await runtime.start(handle)))

        self._run(runner.id, "start", call)

    def resume(self, runner: Runner) -> None:
        """Answers with UnpauseDone or LaunchFailed."""
        runtime, handle = self._runtime_of(runner), runner.handle
        assert handle is not None

        async def call() -> None:
            await runtime.resume(handle)
            self._post(UnpauseDone(runner.id))

        self._run(runner.id, "resume", call)

    def end(self, runner: Runner) -> None:
        """Stop and remove; cuts a prepare under way short. Answers with RunnerEnded or RunnerEndFailed."""
        if (check := self._checks.pop(runner.id, None)) is not None:
            check.cancel()
        unfinished = self._tasks.get(runner.id)
        if not runner.model.managed:
            self._post(RunnerEnded(runner.id, None, StopReport("already_gone"), (), ""))
            return
        self._run(runner.id, "end", lambda: self._end(runner, unfinished))

    async def _end(self, runner: Runner, unfinished: asyncio.Task[Any] | None) -> None:
        if unfinished is not None:
            await tasks.cancel(unfinished)
        runtime, model = self._runtime_of(runner), runner.model
        try:
            handle = runner.handle or await self._handle_of(runtime, runner.id)
            if handle is None:
                self._post(RunnerEnded(runner.id, None, StopReport("already_gone"), (), ""))
                return
            streams = ""
            if model.stop.close_streams and runner.address is not None and not runner.fault:
                streams = await self._prober.close_streams(runner.address, model.stream, model.stop.grace_s / 2)
            report = await runtime.stop(handle, model.stop)
            secrets = secrets_of(model)
            last_log = tuple(scrub(line, secrets) for line in await runtime.tail(handle, LOG_LINES))
            how = scrub(how_it_ended(runner, report), secrets)
            await runtime.keep_log(handle, EndedRun(runner.id, time.time(), how), secrets)
            await runtime.remove(handle)
        except OrchdError as exc:
            self._post(RunnerEndFailed(runner.id, exc.message))
        else:
            self._post(RunnerEnded(runner.id, handle, report, last_log, streams))

    def remove_stray(self, id: RuntimeId, handle: str, stop: StopSpec) -> None:
        """Stop and remove one that no definition wants; tried again at the next look if it fails."""
        if handle in self._strays:
            return
        runtime = self._runtimes[id]

        async def call() -> None:
            gone = False
            try:
                await runtime.stop(handle, stop)
                await runtime.remove(handle)
                gone = True
            except OrchdError as exc:
                log.warning("stray_stays", kind=str(id), handle=handle, reason=exc.message)
            finally:
                del self._strays[handle]
                self._post(StrayRemoval(id, handle, gone))

        self._strays[handle] = tasks.spawn(call(), name=f"remove stray {handle[:12]}")

    def strays(self) -> tuple[str, ...]:
        """Return the handles of the strays that are being removed."""
        return tuple(self._strays)

    async def close(self) -> None:
        """Cut all calls; what they began is found again by the next start."""
        await tasks.cancel(*self._tasks.values(), *self._checks.values(), *self._strays.values())

    def _run(self, id: RunnerId, what: str, call: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def guarded() -> None:
            try:
                await call()
            except OrchdError as exc:
                self._post(LaunchFailed(id, exc.message, blameless=_away(exc), passing=exc.code in PASSING))
            finally:
                if self._tasks.get(id) is task:
                    del self._tasks[id]

        task = tasks.spawn(guarded(), name=f"{what} {id}")
        self._tasks[id] = task

    def _runtime_of(self, runner: Runner) -> Runtime:
        assert runner.runtime is not None, "nobody asks for a call about a runner that nothing here launches"
        return self._runtimes[runner.runtime]

    @staticmethod
    async def _handle_of(runtime: Runtime, id: RunnerId) -> str | None:
        """A prepare that was cut short may have left one behind."""
        return next((s.handle for s in await runtime.sightings() if s.runner == id), None)


def _without_pull(model: Model) -> Model:
    """The image was pulled a moment ago: to ask its registry again could only fail."""
    launch = model.launch
    if isinstance(launch, ContainerLaunch) and launch.pull == "always":
        return replace(model, launch=replace(launch, pull="missing"))
    return model


def _away(exc: OrchdError) -> bool:
    """Whether the runtime can't be reached at all; one that answers with an error is there."""
    return isinstance(exc, EngineUnavailable) and exc.code is not Code.ENGINE_REFUSED
