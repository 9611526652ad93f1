"""How the models file is shown by `/status` and `orchd status`. (`status_view` makes the JSON of its problems.)"""

from __future__ import annotations

from collections import Counter

from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import DIM, RED, YELLOW, TextStyle, ago, cut_lines, pad, printable

PROBLEM = "problem "
"""How the name of a problem's line begins."""
MOST_LINES = 3
"""Lines of a problem, on a terminal of the list of models."""


def _whole(snapshot: Snapshot) -> Json:
    return {"file": {"hash": snapshot.file_hash, "ok": snapshot.reload_ok, "at": snapshot.reload_at}}


def _problems(status: Json, style: TextStyle) -> list[str]:
    if not status["problems"]:
        return []
    problems = sorted(status["problems"], key=lambda problem: problem["severity"] != "error")
    most = None if style.height is None else max(2, style.height // 8)
    lines, cut = ["", "Problems of the models file"], False
    for problem in problems[:most]:
        whole = style.wrap(printable(problem["text"]), "           ")
        first, *more = cut_lines(whole, most and MOST_LINES)
        cut = cut or 1 + len(more) < len(whole)
        colour = RED if problem["severity"] == "error" else YELLOW
        lines += [f"  {style.paint(pad(problem['severity'], 7), colour)}  {first.strip()}", *more]
    if left := len(problems) - len(problems[:most]):
        lines.append(style.paint(f"  {left} more; see `orchd check`, or `orchd status | less`", DIM))
    elif cut:
        lines.append(style.paint("  `orchd check` shows all of it", DIM))
    return lines


def _file(status: Json, style: TextStyle) -> list[str]:
    counts = Counter(problem["severity"] for problem in status["problems"])
    said = "".join(f", {count} {word}{'s'[: count != 1]}" for word, count in sorted(counts.items()))
    colour = RED if not status["file"]["ok"] or counts["error"] else YELLOW if counts else None
    return [style.paint(part, colour) for part in style.hang(_file_line(status["file"], status["at"]) + said)]


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
