"""Busy-polling: after a small message has gone out alone, the loop polls without blocking for a moment.

With one small job at a time the loop sends a message, has nothing else to do, blocks in epoll, and is woken some
microseconds later by the answer. To block and be woken takes a processor longer than such a job, above all in a virtual
machine, and it wakes with cold caches. So after such a message the loop busy-polls for the answer, as spin locks and
hypervisors do, if answers came that fast lately. Whatever else is due runs meanwhile.

How: a callback that asks the loop to call it again in its next turn. A loop with a callback that is due polls its
sockets with a timeout of 0, so it neither blocks nor misses anything. `sent` is called for each message; the answer is
not watched for: the next message that goes out tells that it came.

Busy-polling must not cost where it is of no use. So a moment that was too short for what came counts: each such moment
doubles the number of messages after which the loop does not busy-poll, up to `MOST_PAUSED`; each that was enough halves
it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

MOST_PAUSED = 1024


class BusyPoll:
    """Decides after which messages to busy-poll, and does it.

    Args:
        soon: the loop's `call_soon`.
        poll_s: how long to busy-poll; 0 = never.
        clock: seconds, exact to microseconds.
    """

    def __init__(
        self,
        soon: Callable[[Callable[[], None]], object],
        poll_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._soon = soon
        self._clock = clock
        # With one processor, busy-polling would keep it from the program that is to answer.
        self._poll_s = poll_s if (os.cpu_count() or 1) > 1 else 0.0
        self._sent_at = float("-inf")
        self._until: float | None = None  # When the moment ends; None = the loop does not busy-poll.
        self._turning = False  # `_turn` is due in the loop's next turn.
        self._pause = 0  # After how many messages not to busy-poll,
        self._paused = 0  # and how many of them are left.

    def sent(self, *, alone: bool) -> None:
        """A turn of the loop ends in which small messages went out; `alone`: just one."""
        if not self._poll_s:
            return
        now = self._clock()
        # Twice the moment: a loop that blocked is woken late, so that an answer may seem to have taken twice as long.
        prompt = now - self._sent_at < 2 * self._poll_s
        self._sent_at = now
        if self._until is not None:  # Something came while it busy-polled: the moment was enough.
            self._until = None
            self._pause //= 2
        if not (alone and prompt):
            return
        if self._paused:
            self._paused -= 1
            return
        self._until = now + self._poll_s
        if not self._turning:  # Else it is in the loop already, and sees the new end.
            self._turning = True
            self._soon(self._turn)

    def _turn(self) -> None:
        """Keep the loop from blocking for one more turn."""
        self._turning = False
        if self._until is None:
            return
        if self._clock() < self._until:
            self._turning = True
            self._soon(self._turn)
        else:  # In vain.
            self._until = None
            self._paused = self._pause = min(2 * self._pause or 1, MOST_PAUSED)
