"""The time of day as a clock that a test sets, also backwards, while the loop's own clock goes on as it does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch


class WallClock:
    """Attributes:
    now: Unix time, seconds; what `time.time` returns inside `patched`.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.now = now

    @contextmanager
    def patched(self) -> Iterator[WallClock]:
        with patch.object(time, "time", lambda: self.now):
            yield self
