"""How Python's garbage collector is kept from holding the event loop: it looks at little at a time.

Jobs, probes and pages leave no garbage cycles, but a collection looks at all objects of a generation, about 0.3 us
each. A thousand models are some hundred thousand objects that live for days: to look at all of them holds every job for
50 ms and more.

Python begins a collection by a count of objects made less those freed. Where one object takes another's place, as the
timers of a thousand probes do every five seconds, the count stays as it is while new objects pile up: 12,000 of them,
in one collection of 4 ms. So young objects are collected by time as well (`Sweeps`).
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

YOUNG = 3_000
"""New objects (more made than freed) between two collections of the youngest ones: a millisecond each at most.

With 700, each of 256 jobs at once cost an eighth more.
"""

MIDDLE = 1
"""Collections of the youngest between two that look at what survived them: at most 2 ms."""

NEVER = 1_000_000_000
"""Such collections between two of everything that is not excluded: those are made by `Sweeps` alone. With Python's own
10 they took a seventh of all CPU time under load."""

SWEEP_S = 0.1
"""Between two collections of what is younger: a thousand models replace 300 objects in this time, 0.1 ms."""

WHOLE_S = 3600.0
"""Between two collections of all that is not excluded: 4 ms with a thousand models. Steady work leaves nothing for it
to find, so it may be this rare."""

QUIET_S = 1800.0
"""How long such a collection waits at most for a moment in which no job is under way."""

EXCLUDE_AFTER_S = 60.0
"""After an edit: by then its models are there, have been probed and shown on a page."""


def settle_down() -> None:
    """Exclude what lives as long as the daemon, and collect as above. Takes some 50 ms, so call it before jobs come."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, NEVER)


class Sweeps:
    """Collects what is young ten times a second, and everything that is not excluded about once an hour.

    Args:
        busy: returns whether a job is under way.
        collect: collects a generation and all younger ones.
    """

    def __init__(self, busy: Callable[[], bool], collect: Callable[[int], object] = gc.collect) -> None:
        self._busy = busy
        self._collect = collect
        self._timer: asyncio.TimerHandle | None = None
        self._whole_at = 0.0

    def start(self) -> None:
        """Begin; the first one comes later."""
        self._whole_at = asyncio.get_running_loop().time() + WHOLE_S
        self._wait()

    def close(self) -> None:
        """Collect nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _wait(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._whole_at and (now >= self._whole_at + QUIET_S or not self._busy()):
            self._whole_at = now + WHOLE_S
            self._collect(2)
        else:
            self._collect(1)
        self._wait()


class LongLived:
    """Excludes from collection what an edit has made, a while after it.

    What is excluded is freed all the same when nothing refers to it any more; only cycles among it would stay.
    """

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def edited(self, desired: object = None) -> None:
        """Models have been added or changed; which ones does not matter."""
        self.close()
        self._timer = asyncio.get_running_loop().call_later(EXCLUDE_AFTER_S, self._exclude)

    def close(self) -> None:
        """Exclude nothing more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _exclude(self) -> None:
        self._timer = None
        gc.collect(0)
        gc.freeze()
