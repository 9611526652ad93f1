"""Draws docs/explanation/lifecycle.md's diagram from the transition table: `python -m tests.lifecycle_diagram`."""

from __future__ import annotations

import re
from pathlib import Path

from orchd.domain.lifecycle import TRANSITIONS

DOCS = Path(__file__).parents[1] / "docs" / "explanation" / "lifecycle.md"


def diagram() -> str:
    """Return the table as a Mermaid state diagram; moves between the same two states share an arrow."""
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, row in TRANSITIONS.items():
        for event, after in row.items():
            if after is not state:
                arrows.setdefault((state, after), []).append(event)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", "    [*] --> cold", *lines, "```"])


if __name__ == "__main__":
    DOCS.write_text(re.sub(r"```mermaid.*?```", lambda _: diagram(), DOCS.read_text(), flags=re.DOTALL))
