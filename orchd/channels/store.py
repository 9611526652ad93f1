"""The channels, with a clock: what other parts do with them."""

from __future__ import annotations

from collections.abc import Callable

from orchd.channels.bounds import Bounds
from orchd.channels.channel import NEXT
from orchd.channels.channels import Channels
from orchd.channels.upload import Upload


class ChannelStore:
    """After `ports.ChannelKeeper`.

    Args:
        now: seconds of a clock that never goes back.
    """

    def __init__(self, bounds: Bounds, now: Callable[[], float]) -> None:
        self.channels = Channels(bounds)
        self.now = now

    def create(self, name: str, mime_type: str, session: str) -> None:
        self.channels.create(name, mime_type, self.now(), session=session)

    def remove(self, name: str) -> None:
        self.channels.remove(name)

    def head(self, name: str) -> int | None:
        channel = self.channels.get(name)
        return None if channel is None else channel.head

    def publish(self, name: str, body: bytes) -> None:
        channel = self.channels.get(name)
        if channel is None:
            return
        upload = self.channels.publish(channel, NEXT, _nobody)
        if isinstance(upload, Upload):
            upload.take(body, self.now())
            upload.end(self.now())
            upload.leave(self.now())

    def moved_at(self, session: str) -> float | None:
        return self.channels.moved_at(session)

    def tick(self) -> None:
        """Do what is due; to be called about once a second."""
        self.channels.tick(self.now())


def _nobody() -> None:
    """Nobody waits for room."""
