"""`orchd run` for which a minute passes in two seconds: credit lasts for a minute at least, and no test waits so long.

Its event loop's clock runs faster than the machine's, and with it all that orchd counts in seconds.
"""

from __future__ import annotations

import asyncio
import selectors
import sys

import orchd.loops
from orchd.cli import main

TIMES = 30


class _Selector(selectors.DefaultSelector):
    """Waits as long as the loop's clock takes for the time it is given."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout if timeout is None or timeout < 0 else timeout / TIMES)


class HastyLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        super().__init__(_Selector())

    def time(self) -> float:
        return super().time() * TIMES


if __name__ == "__main__":
    orchd.loops.fast_loop = lambda: HastyLoop
    sys.exit(main())
