"""`orchd` on asyncio's own loop, which notes what held it: `python -m tests.bench.held` in place of `orchd`.

Each callback that took at least `LEAST_S` of the thread's CPU time is a line in the file named by `HOLDS`: when it
began (monotonic clock, the same for all processes), CPU seconds, and whose it was. CPU time, so that what else the
machine does is not counted. The loop is asyncio's, since uvloop's callbacks can't be timed from Python.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from asyncio import events
from pathlib import Path
from typing import Any

import orchd.cli.run
from orchd.cli import main

HOLDS = "BENCH_HOLDS"
LEAST_S = 0.0005


def _name(handle: Any) -> str:
    callback = handle._callback
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"task {owner.get_name()}"
    return str(getattr(callback, "__qualname__", callback))


class Garbage:
    """What the garbage collector took of the callback under way."""

    def __init__(self) -> None:
        self.took = 0.0
        self.what = ""
        self._began = 0.0

    def note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
        else:
            self.took += time.thread_time() - self._began
            self.what = f", {self.took * 1000:.1f} ms of it garbage collection ({info['generation']})"


def note_holds(path: Path) -> None:
    """Have each callback of asyncio's loops timed from now on."""
    run: Any = events.Handle._run
    garbage = Garbage()
    gc.callbacks.append(garbage.note)
    file = path.open("a", buffering=1)

    def timed(handle: Any) -> None:
        garbage.took, garbage.what = 0.0, ""
        began, began_cpu = time.monotonic(), time.thread_time()
        run(handle)
        took = time.thread_time() - began_cpu
        if took >= LEAST_S:
            file.write(f"{began} {took} {_name(handle)}{garbage.what}\n")

    events.Handle._run = timed  # type: ignore[method-assign, assignment]


if __name__ == "__main__":
    if path := os.environ.get(HOLDS):
        note_holds(Path(path))
        orchd.cli.run.fast_loop = lambda: None  # type: ignore[attr-defined]
    sys.exit(main())
