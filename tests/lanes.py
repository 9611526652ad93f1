"""How the tests are spread over processes: `make test` and `make unit` run several side by side (pytest-xdist).

What shares a costly fixture stays together in one process; all else may run anywhere. What takes longest begins first,
so that no process is left with it at the end. A folder that is not named here needs nothing: its files are spread.
"""

from __future__ import annotations

TOGETHER = ("tests/blackbox/", "tests/wire/")
"""One server for all tests of the folder."""

APART = ("tests/e2e/", "tests/chaos/", "tests/bench/")
"""Each test has a daemon of its own and takes long: even those of one file may run side by side."""

SLOW = (
    *("tests/bench/", "tests/blackbox/", "tests/chaos/", "tests/deploy/", "tests/e2e/"),
    *("tests/faults/", "tests/upgrade/", "tests/wire/"),
)
"""Whole daemons and long searches, which `make unit` leaves out: they have the mark `slow`."""

FIRST = ("tests/e2e/test_kill.py", "tests/e2e/test_plain_loop.py", "tests/e2e/", "tests/runtime/", "tests/wire/")
"""What begins first, the longest first."""


def scope(node_id: str) -> str:
    """Return the name of what a test must stay in one process with."""
    for folder in TOGETHER:
        if node_id.startswith(folder):
            return folder
    return node_id if node_id.startswith(APART) else node_id.partition("::")[0]


def rank(node_id: str) -> int:
    """Return by what to sort: the lower, the earlier it begins."""
    return next((place for place, start in enumerate(FIRST) if node_id.startswith(start)), len(FIRST))
