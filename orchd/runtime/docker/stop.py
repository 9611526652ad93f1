"""Ends a container: its signal, a wait for its grace period, then SIGKILL."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from orchd.domain.model import StopSpec
from orchd.domain.ports import StopReport
from orchd.errors import EngineUnavailable
from orchd.runtime.docker.client import Refused
from orchd.runtime.docker.engine import Engine

log = structlog.get_logger("orchd.runtime")


async def stop_container(engine: Engine, handle: str, stop: StopSpec, *, kill_wait_s: float) -> StopReport:
    """Return how it ended. One that is gone or does not run is fine.

    Args:
        kill_wait_s: longest wait for its end after SIGKILL.

    Raises:
        EngineUnavailable: the engine can't be reached, or it runs on even after SIGKILL.
    """
    state = await _state(engine, handle)
    if state is None or not state["Running"]:
        return StopReport("already_gone", _exit_code(state))
    try:
        await _signal(engine, handle, stop.signal)
        return StopReport("signal", _exit_code(await _ended(engine, handle, stop.grace_s)))
    except TimeoutError:
        await _signal(engine, handle, "SIGKILL")
    try:
        return StopReport("killed", _exit_code(await _ended(engine, handle, kill_wait_s)))
    except TimeoutError as exc:
        raise EngineUnavailable(f"cannot end the container {handle[:12]}: it runs on after SIGKILL") from exc


async def _signal(engine: Engine, handle: str, signal: str) -> None:
    await engine.unpause(handle)  # a frozen process takes no signal
    try:
        await engine.kill(handle, signal)
    except Refused as refused:  # ended or removed meanwhile; or a signal that this engine does not know
        log.info("signal_refused", container=handle[:12], signal=signal, reason=refused.reason)


async def _ended(engine: Engine, handle: str, limit_s: float) -> dict[str, Any] | None:
    """Wait until it does not run; asks again and again, since a waiting call would hold a thread for long."""
    pause = 0.05
    async with asyncio.timeout(limit_s):
        while (state := await _state(engine, handle)) is not None and state["Running"]:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.5)
    return state


async def _state(engine: Engine, handle: str) -> dict[str, Any] | None:
    found = await engine.inspect(handle)
    return None if found is None else found["State"]


def _exit_code(state: dict[str, Any] | None) -> int | None:
    return None if state is None or state["Status"] == "created" else int(state["ExitCode"])
