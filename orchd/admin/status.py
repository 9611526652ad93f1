"""How the daemon itself is shown by `/status` and `orchd status`."""

from __future__ import annotations

from dataclasses import asdict

from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import BOLD, TextStyle, ago, printable


def _whole(snapshot: Snapshot) -> Json:
    return {"daemon": asdict(snapshot.daemon) if snapshot.daemon else None}


def _overview(status: Json, style: TextStyle) -> list[str]:
    daemon = status["daemon"]
    if daemon is None:
        return []
    name = f"orchd {daemon['version']} ({daemon['instance']}), up {ago(status['at'] - daemon['started_at'])}"
    listens = [f"admin at {daemon['admin_listen']}"]
    if jobs := status["jobs"]["listen"]:
        listens.insert(0, f"jobs at {' and '.join(jobs)}")
    first, *more = style.hang(printable(f"{name}; {', '.join(listens)}"))
    return [style.paint(first, BOLD), *more]


FACE = StatusFace(whole=_whole, overview={Position.DAEMON: _overview})
