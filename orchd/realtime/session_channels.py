"""The channels of one session, made by the node or by orchd."""

from __future__ import annotations

from typing import Protocol

from orchd.realtime.channels import ChannelSet


class NoChannels(Exception):
    """No channels were made; the text says why, and by whom."""


class SessionChannels(Protocol):
    """See `node_channels.NodeChannels`."""

    async def make(self) -> ChannelSet:
        """Have all of them made. Those that are there already stay as they are.

        Raises:
            NoChannels: there are not all of them.
        """
        ...

    async def remove(self) -> None:
        """Have them removed. Those that are gone are fine; what goes wrong ends with the session."""
        ...

    async def client_heads(self) -> tuple[int, ...] | None:
        """Return how many segments the client has begun in each channel that it writes; -1 = the channel is gone.

        None: that can't be told now.
        """
        ...


class OwnSessionChannels(SessionChannels, Protocol):
    """Those of a session that orchd has sold; see `own_channels.OwnChannels`."""

    @property
    def all_there(self) -> bool:
        """All of them were made, maybe by an earlier orchd, and were not removed."""
        ...
