<<<<<<< HEAD
"""Draws the diagrams of docs/explanation/lifecycle.md from the tables: `python -m tests.lifecycle_diagram`."""

from __future__ import annotations

import re
=======
"""Draws the diagrams of states from their tables, in the pages that show them: `python -m tests.lifecycle_diagram`."""

from __future__ import annotations

>>>>>>> 16de58c (http1, relay: heads are read in a file of their own; the relay has a design page)
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchd.domain.lifecycle import TRANSITIONS
<<<<<<< HEAD
from orchd.domain.phases import STREAM_MOVES
=======
from orchd.relay.caller_state import MOVES, CallerState
>>>>>>> 16de58c (http1, relay: heads are read in a file of their own; the relay has a design page)

ROOT = Path(__file__).parents[1]
RUNNERS = ROOT / "docs" / "explanation" / "lifecycle.md"
CALLERS = ROOT / "orchd" / "relay" / "design.md"


<<<<<<< HEAD
def diagram() -> str:
    """Return the life of a runner as a Mermaid state diagram."""
    return _drawn("cold", TRANSITIONS)


def stream_diagram() -> str:
    """Return the life of a realtime session as a Mermaid state diagram."""
    return _drawn("held", STREAM_MOVES)


def _drawn(first: str, table: Mapping[Any, Mapping[Any, Any]]) -> str:
    """Return a table of moves as a diagram; moves between the same two states share an arrow."""
=======
def diagram(table: Mapping[Any, Mapping[Any, Any]] = TRANSITIONS, start: str = "cold") -> str:
    """Return a table as a Mermaid state diagram; moves between the same two states share an arrow."""
>>>>>>> 16de58c (http1, relay: heads are read in a file of their own; the relay has a design page)
    arrows: dict[tuple[str, str], list[str]] = {}
    for state, row in table.items():
        for event, after in row.items():
            if after is not state:
                arrows.setdefault((state, after), []).append(event)
    lines = [f"    {a} --> {b}: {', '.join(events)}" for (a, b), events in arrows.items()]
<<<<<<< HEAD
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {first}", *lines, "```"])


if __name__ == "__main__":
    drawn = iter([diagram(), stream_diagram()])
    DOCS.write_text(re.sub(r"```mermaid.*?```", lambda _: next(drawn), DOCS.read_text(), flags=re.DOTALL))
=======
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {start}", *lines, "```"])


def callers_diagram() -> str:
    """Return the states of a caller's connection. That each can be closed is said beside it."""
    rows = {
        state: {event: after for event, after in row.items() if after is not CallerState.CLOSED}
        for state, row in MOVES.items()
    }
    return diagram(rows, "awaiting")


if __name__ == "__main__":
    for page, drawn in ((RUNNERS, diagram()), (CALLERS, callers_diagram())):
        before, _, rest = page.read_text().partition("```mermaid")
        page.write_text(before + drawn + rest.partition("```")[2])
>>>>>>> 16de58c (http1, relay: heads are read in a file of their own; the relay has a design page)
