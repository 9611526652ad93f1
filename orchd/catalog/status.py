"""How the models file is shown by `/status` and `orchd status`. (`status_view` makes the JSON of its problems.)"""

from __future__ import annotations

from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import DIM, RED, YELLOW, TextStyle, ago, pad, printable

PROBLEM = "problem "
"""How the name of a problem's line begins."""


def _whole(snapshot: Snapshot) -> Json:
    return {"file": {"hash": snapshot.file_hash, "ok": snapshot.reload_ok, "at": snapshot.reload_at}}


def _problems(status: Json, style: TextStyle) -> list[str]:
    if not status["problems"]:
        return []
    lines = ["", "Problems"]
    for problem in status["problems"]:
        first, *more = style.wrap(printable(problem["text"]), "           ")
        colour = RED if problem["severity"] == "error" else YELLOW
        lines += [f"  {style.paint(pad(problem['severity'], 7), colour)}  {first.strip()}", *more]
    return lines


def _file(status: Json, style: TextStyle) -> list[str]:
    return ["", style.paint(_file_line(status["file"], status["at"]), DIM if status["file"]["ok"] else RED)]


def _file_line(file: Json, now: float | None) -> str:
    """Return how it stands with the models file; without `now`, not how long."""
    if not file["ok"] and not file["hash"]:
        return "Models file: none has applied yet"
    if not file["ok"]:
        return f"Models file: the newest does not apply; running from {file['hash']}"
    when = f" {ago(now - file['at'])} ago" if now is not None else ""
    return f"Models file: applied{when} ({file['hash']})"


def _changes(status: Json) -> dict[str, str]:
    problems = {
        f"{PROBLEM}{problem['text']}": f"{problem['severity']}: {printable(problem['text'])}"
        for problem in status["problems"]
    }
    return {"file": _file_line(status["file"], None), **problems}


FACE = StatusFace(
    whole=_whole,
    overview={Position.PROBLEMS: _problems, Position.FILE: _file},
    model_page={Position.PROBLEMS: _problems},
    changes=_changes,
)
