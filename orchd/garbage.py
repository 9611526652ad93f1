"""How Python's garbage collector is kept from holding the event loop: it looks at little at a time.

Jobs leave no garbage cycles, but a collection looks at all objects of a generation, about 0.7 us each. A thousand
models are some hundred thousand objects that live for days: to look at all of them holds every job for 50 ms and more.
"""

from __future__ import annotations

import asyncio
import gc

YOUNG = 700
"""New objects (more made than freed) between two collections of the youngest ones: half a millisecond each."""

MIDDLE = 1
"""Collections of the youngest between two that look at what survived them: at most 2 ms."""

ALL = 20_000
"""Such collections between two of everything that is not excluded. With Python's own 10 these took a seventh of all CPU
time under load."""

EXCLUDE_AFTER_S = 60.0
"""After an edit: by then its models are there, have been probed and shown on a page."""


def settle_down() -> None:
    """Exclude what lives as long as the daemon, and collect as above. Takes some 50 ms, so call it before jobs come."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, ALL)


class LongLived:
    """Excludes from collection what an edit has made, a while after it.

    What is excluded is freed all the same when nothing refers to it any more; only cycles among it would stay.
    """

    def __init__(self) -> None:
        self._timer: asyncio.TimerHandle | None = None

    def edited(self) -> None:
        """Models have been added or changed."""
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
