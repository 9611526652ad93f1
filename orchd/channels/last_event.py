"""What the events channel of a session says last, when orchd ends the session. Pure."""

from __future__ import annotations

import json

EVENTS = "events"
"""The channel's name, as its session calls it."""


def session_ended(why: str) -> bytes:
    """Return the event, in the form in which containers write theirs (docs/protocol/trickle.md, 10)."""
    event = {"type": "session_ended", "reason": why}
    return json.dumps({"event": event, "queue_event_type": "ai_stream_events"}).encode()
