"""Draws the diagrams of docs/explanation/lifecycle.md from the tables: `python -m tests.lifecycle_diagram`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchd.domain.lifecycle import TRANSITIONS
from orchd.domain.phases import STREAM_MOVES

DOCS = Path(__file__).parents[1] / "docs" / "explanation" / "lifecycle.md"


def diagram() -> str:
    """Return the life of a runner as a Mermaid state diagram."""
    return _drawn("cold", TRANSITIONS)


def stream_diagram() -> str:
    """Return the life of a realtime session as a Mermaid state diagram."""
    return _drawn("held", STREAM_MOVES)


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
    drawn = iter([diagram(), stream_diagram()])
    DOCS.write_text(re.sub(r"```mermaid.*?```", lambda _: next(drawn), DOCS.read_text(), flags=re.DOTALL))
