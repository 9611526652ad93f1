"""How far long searches go: a quarter by default, all of it under `make soak`."""

from __future__ import annotations

import os

SOAK = os.environ.get("ORCHD_SOAK") == "1"


def examples(most: int) -> int:
    """Return how many of `most` examples a test tries."""
    return most if SOAK else most // 4
