"""How sold sessions are shown by `/status` and `orchd status`."""

from __future__ import annotations

from collections.abc import Sequence

from orchd.domain.state import Snapshot, SoldCount
from orchd.status_face import Json, Position, StatusFace
from orchd.text import TextStyle

PERSISTENT, SINGLE_SHOT = "persistent", "single-shot"
_STATES = ("paid", "free", "pending")
_WORDS = {PERSISTENT: ("session", "sessions"), SINGLE_SHOT: ("job", "jobs")}


def _whole(snapshot: Snapshot) -> Json:
    return {"sold": None if snapshot.sold is None else [_row(count) for count in snapshot.sold]}


def _row(count: SoldCount) -> Json:
    return {
        "pipeline": count.key.pipeline,
        "model_id": count.key.model_id,
        "mode": PERSISTENT if count.persistent else SINGLE_SHOT,
        "paid": count.paid,
        "free": count.free,
        "pending": count.pending,
    }


def _overview(status: Json, style: TextStyle) -> list[str]:
    said = _in_words(status["sold"] or ())
    return style.hang(f"Sold here: {said}") if said else []


def _facts(model: Json, status: Json) -> Json:
    key = (model["pipeline"], model["model_id"])
    rows = [row for row in status["sold"] or () if (row["pipeline"], row["model_id"]) == key]
    return {"sold": _in_words(rows)}


def _in_words(rows: Sequence[Json]) -> str:
    """Return how many there are in each mode; empty = none."""
    said = []
    for mode, (one, many) in _WORDS.items():
        counts = {state: sum(row[state] for row in rows if row["mode"] == mode) for state in _STATES}
        if total := sum(counts.values()):
            states = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
            said.append(f"{total} {one if total == 1 else many} ({states})")
    return " and ".join(said)


FACE = StatusFace(whole=_whole, overview={Position.SOLD: _overview}, facts=_facts)
