"""The event channel ("o2r") of a dynamic runner: one JSON message a trickle segment. Source: livepeer-node.md 5.4.

The node always has the next segment open. Anybody who writes to that one closes it, and the node's writer has no place
to write to ever again: no event and no keep-alive comes any more, and nothing is said about it.
"""

from __future__ import annotations

from datetime import UTC, datetime

from tests.doubles.livepeer_node.registry import Session, base32
from tests.doubles.shared.answers import marshal
from tests.doubles.shared.trickle_channel import NEXT, Channels

KEEPALIVE_EVERY_S = 10.0
NAME, MIME_TYPE = "o2r", "application/json"


class EventChannel:
    def __init__(self, channels: Channels, runner_id: str) -> None:
        self.name = f"{runner_id}-{base32(16)}-{NAME}"
        self._channels = channels
        self._channel = channels.create(self.name, MIME_TYPE)
        self._next = self._channel.open_for_write(NEXT)

    def tell(self, event: str, session: Session) -> None:
        stamp = datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00") + "000Z"
        self._publish({"event": event, "session": session.session_id, "timestamp": stamp})

    def keep_alive(self) -> None:
        self._publish({"keep": "alive"})

    def close(self) -> None:
        self._channels.remove(self.name)

    def _publish(self, message: dict[str, str]) -> None:
        segment = self._next
        if segment.closed:
            return
        self._channel.wrote_first(segment)
        segment.append(marshal(message).encode())
        segment.close()
        self._next = self._channel.open_for_write(NEXT)
