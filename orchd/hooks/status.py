"""How the hooks are shown by `/status`."""

from __future__ import annotations

from orchd.domain.state import Snapshot
from orchd.status_face import Json, StatusFace


def _whole(snapshot: Snapshot) -> Json:
    return {"hooks": list(snapshot.hooks)}


FACE = StatusFace(whole=_whole)
