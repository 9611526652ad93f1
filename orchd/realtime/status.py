"""How realtime sessions are shown by `/status` and `orchd status`."""

from __future__ import annotations

from dataclasses import asdict

from orchd.domain.state import ModelStatus
from orchd.status_face import Json, Position, StatusFace
from orchd.text import YELLOW, Cell, TextStyle, ago, printable, table


def _of_model(status: ModelStatus) -> Json:
    return {"streams": [asdict(stream) for stream in status.streams]}


def _streams(status: Json, style: TextStyle) -> list[str]:
    [model] = status["models"]
    now = status["at"]
    rows = [
        [
            Cell(stream["phase"], None if stream["phase"] == "running" else YELLOW),
            Cell(stream["origin"]),
            Cell(str(stream["replica"])),
            Cell(ago(now - stream["since"])),
            Cell(printable(stream["id"])),
        ]
        for stream in model["streams"]
    ]
    return ["", *table(("PHASE", "FROM", "REPLICA", "SINCE", "STREAM"), rows, style)] if rows else []


FACE = StatusFace(of_model=_of_model, model_page={Position.STREAMS: _streams})
