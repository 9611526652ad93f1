"""Every timeout that is held against somebody else leaves out the time in which orchd itself stood still."""

from __future__ import annotations

import ast
from pathlib import Path

import orchd

ROOT = Path(orchd.__file__).parent

OTHERS = ("health", "hooks", "jobs", "realtime", "relay", "sessions", "node/client.py")
"""Where others are waited for. Elsewhere orchd waits for itself, or for what is blameless (an engine, a disk)."""

DECIDED = {
    "health/probe.py": "a probe's timeout: the whole probe is void if the loop stood still for a share of it",
    "hooks/calls.py": "the pause between two charges: nobody is waited for",
    "relay/callers.py": "last words of connections that are closed anyhow",
}
"""Files with one plain timeout of asyncio's, and why that one does no harm. All others use `LoopLag.timeout`."""


def plain_timeouts(path: Path) -> int:
    """Return how often asyncio's own timeouts are used."""
    return sum(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "asyncio"
        and node.attr in ("timeout", "timeout_at", "wait_for")
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_no_timeout_is_held_against_others_that_runs_on_while_orchd_stands_still() -> None:
    files = [
        file for where in OTHERS for file in ([ROOT / where] if where.endswith(".py") else (ROOT / where).rglob("*.py"))
    ]
    found = {file.relative_to(ROOT).as_posix(): count for file in files if (count := plain_timeouts(file))}
    assert found == dict.fromkeys(DECIDED, 1)
