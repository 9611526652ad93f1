"""How the hooks are shown by `/status` and `orchd status`."""

from __future__ import annotations

from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import TextStyle, printable

_BUILT_IN = {"node-token", "signed-job", "webhook", "limits", "tickets"}
"""As the settings have them, which take long to import."""


def _whole(snapshot: Snapshot) -> Json:
    return {"hooks": list(snapshot.hooks)}


def _overview(status: Json, style: TextStyle) -> list[str]:
    """Name them where there are others than those that orchd brings."""
    if not set(status["hooks"]) - _BUILT_IN:
        return []
    return style.hang(printable(f"Hooks: {', '.join(status['hooks'])}"))


FACE = StatusFace(whole=_whole, overview={Position.HOOKS: _overview})
