"""How far long searches go: a share of the way in `make test`, less in `make unit`, all of it in `make soak`.

Each search names how many examples the whole of it has.
"""

from __future__ import annotations

import os

SHARE = float(os.environ.get("ORCHD_TEST_SOAK", "0.25"))
"""Of each long search, what is tried. By default what CI tries; more is for `make soak` (1)."""


def examples(most: int, share: float = 0.25) -> int:
    """Return how many of `most` examples a test tries; at least one. What calls it has the mark `soak`.

    Args:
        share: of them, what CI tries, if that is not a quarter.
    """
    return most if SHARE >= 1 else max(1, round(most * share * SHARE / 0.25))
