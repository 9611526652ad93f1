"""Tasks that are never lost: each has a name and is referenced until it ends; failures are logged."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

log = structlog.get_logger("orchd.tasks")

T = TypeVar("T")
_alive: set[asyncio.Task[Any]] = set()


def spawn(coro: Coroutine[Any, Any, Any], *, name: str) -> asyncio.Task[Any]:
    """Start `coro` as a task, referenced until it ends; what it raises is logged as `task_failed`."""
    task = asyncio.get_running_loop().create_task(coro, name=name)
    _alive.add(task)
    task.add_done_callback(_done)
    return task


async def caught(work: Coroutine[Any, Any, T]) -> tuple[T | None, Exception | None]:
    """Return what `work` returns, or the exception that it raises: for who reads that elsewhere."""
    try:
        return await work, None
    except Exception as exc:  # noqa: BLE001 - it is raised again where it is waited for
        return None, exc
    except GeneratorExit as exc:  # Of what was awaited; or the loop ends, and nobody waits any more.
        return None, RuntimeError(repr(exc))


def _done(task: asyncio.Task[Any]) -> None:
    _alive.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("task_failed", task=task.get_name(), error=repr(error), exc_info=error)


def being_cancelled() -> bool:
    """Return whether somebody has asked the task that runs now to end.

    If not, a CancelledError in it tells of something else that was cancelled, and that it waited for.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def cancel(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and wait until each has ended. What they raise is dropped here: `spawn` logs it."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
