"""The event channel ("o2r") of each dynamic runner: one JSON message a trickle segment. Source: live-runner.md 2.4."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.doubles.golivepeer.live_registry import Runner, Session
from tests.doubles.shared.answers import marshal
from tests.doubles.shared.trickle_server import TrickleServer

KEEPALIVE_EVERY_S = 10.0
MIME_TYPE = "application/json"


class Events:
    """`lost` makes messages vanish as when the node's queue of 32 overflows; keep-alives still come."""

    def __init__(self, trickle: TrickleServer) -> None:
        self._trickle = trickle
        self.lost = False

    def open(self, runner: Runner) -> None:
        self._trickle.create(runner.events_channel, MIME_TYPE)

    def close(self, runner: Runner) -> None:
        self._trickle.close(runner.events_channel)

    def tell(self, runner: Runner, event: str, session: Session) -> None:
        if runner.static is None and not self.lost:
            self._publish(
                runner,
                {"event": event, "session": session.session_id, "timestamp": datetime.now(UTC).isoformat()},
            )

    def keep_alive(self, runner: Runner) -> None:
        if runner.static is None:
            self._publish(runner, {"keep": "alive"})

    def _publish(self, runner: Runner, message: dict[str, str]) -> None:
        self._trickle.channels.publish(runner.events_channel, marshal(message).encode())
