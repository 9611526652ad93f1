"""`orchd`, noting what holds its event loop: `python -m tests.bench.held` in place of `orchd`.

With `HOLDS` in the environment, it runs on asyncio's own loop, since uvloop's callbacks can't be timed from Python.
Each callback that took at least `LEAST_S` is a line in the file of that name: when it began (monotonic clock, the same
for all processes), CPU seconds of the thread, and whose it was. CPU time, so that what else the machine does is not
counted. Garbage collection is not counted either: asyncio's transports leave cycles behind, and uvloop's don't.

With `GARBAGE` it runs on the loop that orchd ships with, and each garbage collection is such a line.
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

import orchd.cli.daemon
from orchd.cli import main

HOLDS, GARBAGE = "BENCH_HOLDS", "BENCH_GARBAGE"
LEAST_S = 0.0005


class Garbage:
    """What garbage collection has taken. `file`: where each collection is written down; None = nowhere."""

    def __init__(self) -> None:
        self.took = 0.0
        self.file: Any = None
        self._began = self._began_cpu = 0.0

    def note(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began, self._began_cpu = time.monotonic(), time.thread_time()
            return
        took = time.thread_time() - self._began_cpu
        self.took += took
        if self.file is not None and took >= LEAST_S:
            self.file.write(f"{self._began} {took} garbage of generation {info['generation']}\n")


def _name(handle: Any) -> str:
    callback = handle._callback
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.Task):
        return f"task {owner.get_name()}"
    return str(getattr(callback, "__qualname__", callback))


def note_holds(path: Path) -> None:
    """Have each callback of asyncio's loops timed from now on."""
    run: Any = events.Handle._run
    file = path.open("a", buffering=1)
    garbage = Garbage()
    gc.callbacks.append(garbage.note)

    def timed(handle: Any) -> None:
        garbage.took = 0.0
        began, began_cpu = time.monotonic(), time.thread_time()
        run(handle)
        took = time.thread_time() - began_cpu - garbage.took
        if took >= LEAST_S:
            file.write(f"{began} {took} {_name(handle)}\n")

    events.Handle._run = timed  # type: ignore[method-assign, assignment]


def note_garbage(path: Path) -> None:
    """Have each garbage collection timed from now on."""
    garbage = Garbage()
    garbage.file = path.open("a", buffering=1)
    gc.callbacks.append(garbage.note)


if __name__ == "__main__":
    if path := os.environ.get(HOLDS):
        note_holds(Path(path))
        orchd.cli.daemon.fast_loop = lambda: None  # type: ignore[attr-defined]
    if path := os.environ.get(GARBAGE):
        note_garbage(Path(path))
    sys.exit(main())
