"""How `orchd events` shows an event: to a person, and as JSON."""

from __future__ import annotations

import json
from datetime import datetime

from orchd.history.ports import Kind
from orchd.history.read import KeptEvent
from orchd.text import DIM, GREEN, RED, YELLOW, TextStyle, printable

_COLOURS: dict[str, str] = {
    Kind.READY: GREEN,
    Kind.REGISTERED: GREEN,
    Kind.NODE_UP: GREEN,
    Kind.RUNTIME_UP: GREEN,
    **dict.fromkeys((Kind.UNHEALTHY, Kind.HELD_OVER, Kind.NOT_REGISTERED, Kind.NODE_DOWN), YELLOW),
    **dict.fromkeys((Kind.FAILED, Kind.GIVEN_UP, Kind.FILE_REFUSED, Kind.EDIT_REFUSED, Kind.RUNTIME_DOWN), RED),
    Kind.EVENTS_LOST: RED,
}
_KIND_COLUMNS = 16
"""Enough for most kinds; a longer one moves its own line, so that the others fit a terminal."""


def lines(event: KeptEvent, style: TextStyle) -> list[str]:
    """Return an event for a person; on a terminal, what does not fit goes on in the next line."""
    kind = f"{event.kind:{_KIND_COLUMNS}}"
    about = "" if event.key is None else str(event.key) if event.replica is None else f"{event.key} #{event.replica}"
    by = f"by {event.by}" if event.by else ""
    why = event.why if event.why != event.kind else ""
    evidence = event.evidence if event.evidence not in why else ""
    said = "; ".join(filter(None, (why, evidence, by)))
    when = datetime.fromtimestamp(event.at).isoformat(sep=" ", timespec="seconds")  # noqa: DTZ006 - local time
    text = printable(": ".join(filter(None, (about, said))))
    start = f"{style.paint(when, DIM)}  {style.paint(kind, _COLOURS.get(event.kind))}"
    room = f"{when}  {kind}  {text}"
    if style.width is None or len(room) <= style.width:
        return [f"{start}  {text}".rstrip()]
    return [f"{start}  {printable(about)}".rstrip(), *style.wrap(printable(said), "    ")]


def json_of(event: KeptEvent) -> str:
    """Return an event as one line of JSON."""
    pipeline, model_id = event.key or (None, None)
    return json.dumps(
        {
            "id": event.id,
            "at": event.at,
            "kind": event.kind,
            "pipeline": pipeline,
            "model_id": model_id,
            "replica": event.replica,
            "generation": event.generation or None,
            "by": event.by or None,
            "why": event.why,
            "evidence": event.evidence,
        },
        ensure_ascii=False,
    )
