"""How `orchd status` shows realtime sessions: plain JSON to text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchd.text import YELLOW, Cell, Look, ago, printable, table

Json = Mapping[str, Any]


def streams_page(streams: Iterable[Json], now: float, look: Look) -> list[str]:
    """Return a table of a model's sessions; empty if there are none."""
    rows = [
        [
            Cell(stream["phase"], None if stream["phase"] == "running" else YELLOW),
            Cell(stream["origin"]),
            Cell(str(stream["replica"])),
            Cell(ago(now - stream["since"])),
            Cell(printable(stream["id"])),
        ]
        for stream in streams
    ]
    return ["", *table(("PHASE", "FROM", "REPLICA", "SINCE", "STREAM"), rows, look)] if rows else []
