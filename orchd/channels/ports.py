"""What the part `channels` offers the parts above it."""

from __future__ import annotations

from typing import Protocol

from orchd.channels.channels import Channels


class ChannelKeeper(Protocol):
    """The channels of this orchd, with its clock.

    Attributes:
        channels: what the door serves.
    """

    @property
    def channels(self) -> Channels: ...

    def now(self) -> float:
        """Return seconds of the channels' clock, the event loop's."""
        ...

    def create(self, name: str, mime_type: str, session: str) -> None:
        """Make a channel; one that is there already stays as it is.

        Raises:
            TooManyChannels.
        """
        ...

    def remove(self, name: str) -> None:
        """End all that is read or awaited of a channel. What is not there is fine."""
        ...

    def head(self, name: str) -> int | None:
        """Return the number that is written next, which is that of segments begun so far; None = it is gone."""
        ...

    def publish(self, name: str, body: bytes) -> None:
        """Write a whole segment at the head. What is not there, or has no room, is fine."""
        ...

    def moved_at(self, session: str) -> float | None:
        """Return when the last byte was written to a channel of this session, or one was made; None = it has none."""
        ...
