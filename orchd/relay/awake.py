"""To look once more before going to sleep, where sleeping is known to cost more.

A small job at a time: the loop sends a message, has nothing else to do, sleeps, and is woken some microseconds later by
what comes back. To go to sleep and be woken takes a processor longer than such a job, above all in a virtual machine,
and it wakes with cold caches. So behind a message that went out alone the loop looks for a moment without sleeping, as
mutexes and hypervisors do, if such moments were short lately. Whatever else is due runs meanwhile.

It must not cost where it is of no use. So a moment that was too short for what came counts: each doubles the number of
messages behind which nobody looks next, up to `MOST_PAUSED`; each that was enough halves it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

MOST_PAUSED = 1024


class Awake:
    """Args:
    soon: the loop's `call_soon`.
    look_s: how long to look; 0 = never.
    clock: seconds, exact to microseconds.
    """

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], object],
        look_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._soon = soon
        self._clock = clock
        self._look_s = look_s if (os.cpu_count() or 1) > 1 else 0.0  # Else we would be in the way of whoever answers.
        self._sent_at = float("-inf")
        self._until: float | None = None
        self._turning = False
        self._pause = 0  # Messages behind which nobody looks,
        self._paused = 0  # and how many of them are left.

    def sent(self, *, alone: bool) -> None:
        """A turn of the loop ends in which small messages went out; `alone`: just one."""
        if not self._look_s:
            return
        now = self._clock()
        # While the loop slept, what was there at once may seem to have come after as long again.
        prompt = now - self._sent_at < 2 * self._look_s
        self._sent_at = now
        if self._until is not None:
            self._until = None
            self._pause //= 2
        if not (alone and prompt):
            return
        if self._paused:
            self._paused -= 1
            return
        self._until = now + self._look_s
        if not self._turning:
            self._turning = True
            self._soon(self._turn)

    def _turn(self) -> None:
        """Keep the loop from sleeping for one more turn."""
        self._turning = False
        if self._until is None:
            return
        if self._clock() < self._until:
            self._turning = True
            self._soon(self._turn)
        else:
            self._until = None
            self._paused = self._pause = min(2 * self._pause or 1, MOST_PAUSED)
