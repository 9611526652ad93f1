"""How far long searches go: a share of the way by default, all of it under `make soak`.

Each search names how many examples the whole of it has; CI tries the default share of them.
"""

from __future__ import annotations

import os

SHARE = 1 / 4
"""Of each long search, what `make test` tries. Every issue may add a minute to it at most; more is for `make soak`."""

SOAK = os.environ.get("ORCHD_SOAK") == "1"


def examples(most: int) -> int:
    """Return how many of `most` examples a test tries; at least one. What calls it has the mark `soak`."""
    return most if SOAK else max(1, round(most * SHARE))
