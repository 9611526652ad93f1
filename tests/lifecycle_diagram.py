"""Draws the diagrams of states from their tables, in the pages that show them: `python -m tests.lifecycle_diagram`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchd.domain.lifecycle import TRANSITIONS
from orchd.domain.phases import STREAM_MOVES
from orchd.relay.caller_state import MOVES, CallerState

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs" / "explanation" / "lifecycle.md"
RELAY = ROOT / "orchd" / "relay" / "design.md"


def diagram() -> str:
    """Return the life of a runner as a Mermaid state diagram."""
    return _drawn("cold", TRANSITIONS)


def stream_diagram() -> str:
    """Return the life of a realtime session as a Mermaid state diagram."""
    return _drawn("held", STREAM_MOVES)


def caller_diagram() -> str:
    """Return the states of a caller's connection as a Mermaid state diagram, without the moves to `closed`."""
    closed = CallerState.CLOSED
    rows = {
        state: {event: after for event, after in row.items() if after is not closed} for state, row in MOVES.items()
    }
    return _drawn("awaiting", rows)


def _drawn(first: str, table: Mapping[Any, Mapping[Any, Any]]) -> str:
    """Return a table of moves as a diagram; moves between the same two states share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, row in table.items():
        for event, after in row.items():
            if after is not state:
                arrows.setdefault((state, after), []).append(event)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *lines, "```"])


if __name__ == "__main__":
    drawn = iter([diagram(), stream_diagram(), caller_diagram()])
    for page in (DOCS, RELAY):
        page.write_text(re.sub(r"```mermaid.*?```", lambda _: next(drawn), page.read_text(), flags=re.DOTALL))
