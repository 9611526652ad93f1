"""What one replica writes and wrote, run after run."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from orchd.control.log_sources import LogSources
from orchd.control.orders import Json
from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import RunnerKind
from orchd.domain.runs import KeptRun, LogView
from orchd.domain.state import ModelStatus, RunnerStatus
from orchd.errors import Code, EngineUnavailable, LogGone, OrchdError
from orchd.status_view import model_state

END_SEEN_S = 30.0
"""Most seconds from the end of a container's stream until the loop has seen how it ended, its grace not counted."""

_ON_THE_WAY = frozenset({RunnerState.PULLING, RunnerState.PREPARED, RunnerState.STARTING, RunnerState.STOPPING})

Emit = Callable[[Json], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class LogOrder:
    """What is asked for. `replica`: None = all. `previous`: the run before the one that plain `orchd logs` shows."""

    view: LogView
    replica: int | None
    previous: bool

    @classmethod
    def of(cls, order: Json) -> LogOrder:
        """Read an order.

        Raises:
            OrchdError: `bad_request`.
        """
        tail, replica, since = order.get("tail"), order.get("replica"), order.get("since")
        numbers = all(value is None or (type(value) is int and value >= 0) for value in (tail, replica))
        if not numbers or not (since is None or type(since) in (int, float)):
            raise OrchdError("cannot read the order: tail, replica and since are numbers", code=Code.BAD_REQUEST)
        return cls(LogView(tail, since, order.get("follow") is True), replica, order.get("previous") is True)


class ReplicaLog:
    """Shows what one replica writes, run after run.

    Args:
        emit: takes what is to be told; waits until there is room for it.
    """

    def __init__(self, sources: LogSources, key: ModelKey, replica: int, asked: LogOrder, emit: Emit) -> None:
        self._sources = sources
        self._key = key
        self._replica = replica
        self._asked = asked
        self._emit = emit
        self._told = ""

    async def show_once(self) -> OrchdError | None:
        """Show the run that is asked for, as far as it has come; return why that can't be done."""
        view = self._asked.view
        try:
            status, runner = await self._sources.live(self._key, self._replica)
            kept = await self._sources.kept(self._key, self._replica)
            if self._asked.previous:
                await self._show_previous(kept if runner else kept[:-1])
            elif runner is None or status is None:
                await self._show_last(status, kept)
            else:
                try:
                    await self._show_live(status, runner, view)
                except LogGone:  # Just now; what it wrote is kept.
                    await self._show_last(status, await self._sources.kept(self._key, self._replica))
        except OrchdError as exc:
            return exc
        return None

    async def follow(self) -> None:
        """Show what the replica writes from now on, over its ends and starts, until its model is gone."""
        kept = await self._sources.kept(self._key, self._replica)
        over = kept[-1].number if kept else 0
        view, began = self._asked.view, False
        shown = said = ""  # The handle of the run that was shown; that it waits.
        while True:
            turn = self._sources.turn
            status, runner = await self._sources.live(self._key, self._replica)
            later = [run for run in await self._sources.kept(self._key, self._replica) if run.number > over]
            if later:  # They ended too soon to be followed.
                for run in later:
                    await self._show_kept(run)
                over = later[-1].number
            elif runner is not None and status is not None and not _is_over(runner, shown):
                shown, said, began = runner.handle or "", "", True
                view, over = await self._follow_run(status, runner, view, over)
                continue
            elif not began and not runner and kept:
                await self._show_last(status, kept)
            if status is None:
                await self._note("is gone: its entry left aiModels.json")
                return
            if not said and not runner and (said := _waits(status, self._replica)):
                await self._note(f"{said}; waiting for its next run")
            view, began = LogView(follow=True), True
            await self._sources.turned(turn)

    async def _follow_run(
        self, status: ModelStatus, runner: RunnerStatus, view: LogView, over: int
    ) -> tuple[LogView, int]:
        """Show a run until it ends; return what to ask for next, and the number of the last run that is over."""
        turn = self._sources.turn
        try:
            await self._show_live(status, runner, view)
        except LogGone:
            pass  # What it wrote is kept.
        except EngineUnavailable as exc:
            if exc.code is Code.ENGINE_REFUSED:
                raise
            at = time.time()
            if exc.message != self._told:  # Not at each try while the engine is away.
                await self._note(f"cannot be followed now, and some lines may be missing: {exc.message}")
            self._told = exc.message
            await self._sources.turned(turn)
            return LogView(follow=True, since=at), over
        self._told = ""
        at = time.time()
        try:
            async with asyncio.timeout(END_SEEN_S if status.model.kind is RunnerKind.CONTAINER else None):
                return LogView(follow=True), await self._end_of(runner, over)
        except TimeoutError:  # It runs on: the engine has ended the stream alone.
            return LogView(follow=True, since=at), over

    async def _end_of(self, runner: RunnerStatus, over: int) -> int:
        """Wait until it is known how a run ended that was shown, say so, and return its number."""
        while True:
            turn = self._sources.turn
            _, now = await self._sources.live(self._key, self._replica)
            if later := [run for run in await self._sources.kept(self._key, self._replica) if run.number > over]:
                await self._ended(later[0])
                return later[0].number
            if now is None or now.handle != runner.handle:
                await self._note("has ended; its log could not be kept")
                return over
            await self._sources.turned(turn)

    async def _show_live(self, status: ModelStatus, runner: RunnerStatus, view: LogView) -> None:
        if view.since is not None and status.model.kind is RunnerKind.PROCESS:
            await self._note("is a process, whose lines bear no times: all of its run is shown")
        await self._show(self._sources.read_live(status.model.kind, runner, view))

    async def _show_last(self, status: ModelStatus | None, kept: list[KeptRun]) -> None:
        """Show the last run of a replica that does not run."""
        state = _state_of(status, self._replica)
        if not kept:
            await self._note(f"does not run now ({state}), and no log of an earlier run is kept")
            return
        await self._note(f"does not run now ({state}); this is its last run")
        await self._show_kept(kept[-1])

    async def _show_previous(self, kept: list[KeptRun]) -> None:
        if not kept:
            raise OrchdError(
                f"cannot show an earlier run of {self._key}#{self._replica}: none is kept", code=Code.UNKNOWN_TARGET
            )
        await self._show_kept(kept[-1])

    async def _show_kept(self, kept: KeptRun) -> None:
        since = self._asked.view.since
        if since is None or kept.run.ended_at >= since:
            await self._show(self._sources.read_kept(kept, self._asked.view.tail))
        await self._ended(kept)

    async def _show(self, pieces: AsyncGenerator[bytes, None]) -> None:
        async with aclosing(pieces):
            async for piece in pieces:
                await self._emit({"replica": self._replica, "data": base64.b64encode(piece).decode()})

    async def _ended(self, kept: KeptRun) -> None:
        run = kept.run
        await self._emit({"model": str(self._key), "replica": self._replica, "at": run.ended_at, "ended": run.how})

    async def _note(self, text: str) -> None:
        await self._emit({"note": f"{self._key}#{self._replica} {text}"})


def _is_over(runner: RunnerStatus, shown: str) -> bool:
    """Return whether this is the run that was shown to its end, and that is being removed."""
    return runner.state is RunnerState.STOPPING and runner.handle == shown


def _waits(status: ModelStatus, replica: int) -> str:
    """Return what a replica is that has no log now; empty = its next run is on the way."""
    states = [runner.state for runner in status.runners if runner.runner.replica == replica]
    return "" if set(states) & _ON_THE_WAY else f"is down ({states[0] if states else model_state(status)})"


def _state_of(status: ModelStatus | None, replica: int) -> str:
    """Return in words why a replica does not run."""
    if status is None:
        return "its entry is not in aiModels.json"
    runner = next((r for r in status.runners if r.runner.replica == replica), None)
    if runner is None:
        return model_state(status)
    return ": ".join(filter(None, (runner.state, runner.detail)))
