"""How the channels are shown by `/status` and `orchd status`."""

from __future__ import annotations

from dataclasses import asdict

from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import YELLOW, TextStyle

MB = 1e6


def _whole(snapshot: Snapshot) -> Json:
    return {"channels": asdict(snapshot.channels) if snapshot.channels else None}


def _section(status: Json, style: TextStyle) -> list[str]:
    channels = status.get("channels")
    if not channels or not (channels["channels"] or channels["refused"]):
        return []
    facts = [
        f"Channels of sessions: {channels['channels']} with {channels['bytes'] / MB:.1f} MB",
        f"{channels['requests']} reads and writes under way",
    ]
    if channels["refused"]:
        facts.append(f"{channels['refused']} refused for want of room")
    colour = YELLOW if channels["refused"] else None
    return [style.paint(line, colour) for line in style.hang(", ".join(facts))]


FACE = StatusFace(whole=_whole, overview={Position.CHANNELS: _section})
