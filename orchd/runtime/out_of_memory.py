"""Whether the kernel has killed something for want of memory, where nobody says whom."""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path


def oom_kills() -> int:
    """Return how many processes the kernel has killed for want of memory since boot; 0 where it does not tell."""
    try:
        found = re.search(rb"^oom_kill (\d+)$", Path("/proc/vmstat").read_bytes(), re.MULTILINE)
    except OSError:
        return 0
    return int(found[1]) if found else 0


class OutOfMemory:
    """Compares the kernel's count with that of the looks before."""

    def __init__(self) -> None:
        # At the last two looks: a look may come before an exit is seen.
        self._counts = deque([oom_kills()] * 2, maxlen=2)

    def look(self) -> None:
        """Note the count: another look at all runners begins."""
        self._counts.append(oom_kills())

    def lately(self) -> bool:
        """Return whether the kernel has killed something since the look before the last one."""
        return oom_kills() > self._counts[0]
