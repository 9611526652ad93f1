"""Where logs come from: runners that run, without their secrets, and runs that have ended."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import RunnerKind
from orchd.domain.ports import Runtime
from orchd.domain.redact import Scrubber, secrets_of
from orchd.domain.runs import KeptRun, LogView
from orchd.domain.state import ModelStatus, RunnerStatus
from orchd.errors import Code, LogGone, OrchdError
from orchd.reasons import why
from orchd.reconcile.ports import Reconciler
from orchd.runtime.ports import Runtimes

MOST_OPEN = 48
"""Logs of runners that are read at the same time: fewer than the engine has threads for (`runtime/docker/engine.py`),
so that some are left for those that are to be kept."""
_RUNS = frozenset(
    {RunnerState.LOADING, RunnerState.READY, RunnerState.UNHEALTHY, RunnerState.DRAINING, RunnerState.STOPPING}
)
"""States in which a runner has a log. One that is being started has one in a moment."""


class LogSources:
    """Every method raises OrchdError where something can't be read."""

    def __init__(self, reconcile: Reconciler, runtimes: Runtimes) -> None:
        self._reconcile = reconcile
        self._runtimes = runtimes
        self._open = 0

    async def status(self, key: ModelKey) -> ModelStatus | None:
        """Return how a model stands; None = it is not served."""
        return (await self._reconcile.snapshots.fresh()).models.get(key)

    async def live(self, key: ModelKey, replica: int) -> tuple[ModelStatus | None, RunnerStatus | None]:
        """Return how a model stands, and which of a replica's runners has a log now."""
        status = await self.status(key)
        if status is None:
            return None, None
        runs = [r for r in status.runners if r.runner.replica == replica and r.handle and r.state in _RUNS]
        return status, max(runs, key=lambda r: r.since, default=None)

    async def kept(self, key: ModelKey, replica: int) -> list[KeptRun]:
        """Return the kept runs of a replica, the newest last."""
        try:
            return [kept for kept in await self._runtimes.kept.runs(key) if kept.run.runner.replica == replica]
        except OSError as exc:
            raise OrchdError(f"cannot look for logs that are kept: {why(exc)}") from exc

    async def turned(self, after: int) -> None:
        """Return when the loop has turned again."""
        await self._reconcile.snapshots.turned(after)

    @property
    def turn(self) -> int:
        return self._reconcile.snapshots.turn

    async def read_live(self, kind: RunnerKind, runner: RunnerStatus, view: LogView) -> AsyncGenerator[bytes, None]:
        """Yield the log of a runner that runs, without secrets."""
        if self._open >= MOST_OPEN:
            raise OrchdError(
                f"cannot show one more log: {self._open} are being shown now; end one of them (Ctrl-C)",
                code=Code.CAPACITY_EXHAUSTED,
            )
        assert runner.handle is not None
        self._open += 1
        try:
            async with aclosing(self._runtime(kind).log(runner.handle, view)) as pieces:
                scrubbed = self._scrubbed(runner.runner, pieces)
                async with aclosing(scrubbed):
                    async for piece in scrubbed:
                        yield piece
        finally:
            self._open -= 1

    async def read_kept(self, kept: KeptRun, lines: int | None) -> AsyncGenerator[bytes, None]:
        """Yield a kept log; its secrets were taken out before it was kept."""
        try:
            async with aclosing(self._runtimes.kept.read(kept, lines)) as pieces:
                async for piece in pieces:
                    yield piece
        except OSError as exc:
            raise OrchdError(f"cannot read the log {kept.file}: {why(exc)}") from exc

    def _runtime(self, kind: RunnerKind) -> Runtime:
        return next(runtime for id, runtime in self._runtimes.by_id.items() if id.kind is kind)

    async def _scrubbed(self, id: RunnerId, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
        if (model := self._reconcile.loop.model_of(id)) is None:  # Without it, its secrets are not known.
            raise LogGone(f"cannot find a log of {id}: it was removed")
        scrubber = Scrubber(secrets_of(model))
        async for piece in pieces:
            if text := scrubber.feed(piece):
                yield text
        if text := scrubber.end():
            yield text
