"""`orchd run` for which, from SIGWINCH on, a minute passes in two seconds: credit lasts for a minute at least.

Its event loop's clock then runs faster than the machine's, and with it all that orchd counts in seconds. It is a signal
that orchd leaves alone.
"""

from __future__ import annotations

import asyncio
import selectors
import signal
import sys
import time

import orchd.loops
from orchd.cli import main

TIMES = 30


class HastyLoop(asyncio.SelectorEventLoop):
    """Attributes:
    rate: seconds of this loop's that pass in one of the machine's.
    """

    def __init__(self) -> None:
        self.rate = 1
        self._from = self._since = time.monotonic()
        super().__init__(_Selector(self))
        self.add_signal_handler(signal.SIGWINCH, self.hurry)

    def time(self) -> float:
        return self._from + (time.monotonic() - self._since) * self.rate

    def hurry(self) -> None:
        """Run fast from now on."""
        self._from, self._since, self.rate = self.time(), time.monotonic(), TIMES


class _Selector(selectors.DefaultSelector):
    """Waits as long as the loop's clock takes for the time it is given."""

    def __init__(self, loop: HastyLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None or timeout < 0 else timeout / self._loop.rate)


if __name__ == "__main__":
    orchd.loops.fast_loop = lambda: HastyLoop
    sys.exit(main())
