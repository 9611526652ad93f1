"""How the runtimes are shown by `/status` and `orchd status`."""

from __future__ import annotations

from dataclasses import asdict

from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import RED, TextStyle, printable

RUNTIME = "runtime "
"""How the name of a line begins that says that a runtime is down."""


def _whole(snapshot: Snapshot) -> Json:
    return {"runtimes": [asdict(runtime) for runtime in snapshot.runtimes]}


def _missing(status: Json) -> list[Json]:
    return [runtime for runtime in status["runtimes"] if not runtime["up"] and runtime["needed"]]


def _overview(status: Json, style: TextStyle) -> list[str]:
    lines = []
    for runtime in _missing(status):
        lines += ["", style.paint(f"The {runtime['kind']} runtime is down", RED)]
        lines += style.wrap(printable(runtime["detail"]), "    ")
    return lines


def _changes(status: Json) -> dict[str, str]:
    return {
        f"{RUNTIME}{runtime['kind']}": f"the {runtime['kind']} runtime is down: {printable(runtime['detail'])}"
        for runtime in _missing(status)
    }


FACE = StatusFace(whole=_whole, overview={Position.RUNTIMES: _overview}, changes=_changes)
