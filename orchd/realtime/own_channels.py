"""Has orchd itself make and remove the channels of a session that it has sold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from orchd.channels.channels import TooManyChannels
from orchd.domain.ids import ModelKey
from orchd.domain.sold import SoldSession
from orchd.errors import StoreError
from orchd.realtime.channels import CLIENT_WRITES, MIME_TYPES, ChannelSet, ChannelUrls
from orchd.realtime.session_channels import NoChannels
from orchd.sold.runner_side.runner_side import SessionOver
from orchd.sold.runner_side.session_channels import SessionChannel

log = structlog.get_logger("orchd.streams")


class MakesChannels(Protocol):
    """See `sold.runner_side.runner_side.RunnerSide`."""

    async def make_channels(self, session: SoldSession, wanted: Sequence[tuple[str, str]]) -> list[SessionChannel]:
        """Return the channels of these names and types; those that are there stay as they are.

        Raises:
            TooManyChannels, SessionOver, StoreError.
        """
        ...

    async def remove_channels(self, session: SoldSession, names: Sequence[str]) -> list[str]:
        """Remove the channels of these names; return those that there were.

        Raises:
            SessionOver, StoreError.
        """
        ...

    def channel_head(self, session: str, name: str) -> int | None:
        """Return how many segments were begun in a session's channel; None = there is no such channel."""
        ...


class KnowsUrls(Protocol):
    """See `sold.runner_side.urls.RunnerUrls`."""

    def channel(self, channel_name: str) -> str: ...
    def internal_channel(self, channel_name: str, key: ModelKey) -> str: ...


@dataclass(frozen=True, slots=True)
class OwnChannels:
    """The channels of one session. After `session_channels.OwnSessionChannels`.

    Their names are those of the session for as long as it lives, over a restart too; then they are empty.
    """

    side: MakesChannels
    urls: KnowsUrls
    session: SoldSession

    @property
    def all_there(self) -> bool:
        return all(self.side.channel_head(self.session.id, name) is not None for name in MIME_TYPES)

    async def make(self) -> ChannelSet:
        try:
            made = await self.side.make_channels(self.session, [*MIME_TYPES.items()])
        except TooManyChannels as exc:
            why = "there are as many as there may be (channels.max_channels)"
            log.warning("channels_not_made", stream=self.session.id, reason=why)
            raise NoChannels(f"orchd makes no channels for it: {why}") from exc
        except SessionOver as exc:
            raise NoChannels("orchd makes no channels for it: it has ended") from exc
        except StoreError as exc:
            log.warning("channels_not_made", stream=self.session.id, reason=exc.message)
            raise NoChannels("orchd makes no channels for it: they can't be kept on the disk") from exc
        return ChannelSet({each.name: self._where(each.channel_name) for each in made})

    def _where(self, name: str) -> ChannelUrls:
        return ChannelUrls(self.urls.channel(name), self.urls.internal_channel(name, self.session.key))

    async def remove(self) -> None:
        try:
            await self.side.remove_channels(self.session, [*MIME_TYPES])
        except SessionOver:
            return  # They went with it.
        except StoreError as exc:
            log.warning("channels_not_removed", stream=self.session.id, reason=exc.message)

    async def client_heads(self) -> tuple[int, ...] | None:
        heads = [self.side.channel_head(self.session.id, name) for name in CLIENT_WRITES]
        return tuple(-1 if head is None else head for head in heads)
