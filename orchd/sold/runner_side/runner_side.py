"""What containers have made for their sessions: in memory, in the channels, and on the disk.

Whatever is answered is on the disk before; what is on the disk goes with its session. A kill in between leaves rows of
a session that is over: the next start drops them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import structlog

from orchd.channels.channels import TooManyChannels
from orchd.channels.last_event import EVENTS, session_ended
from orchd.database.sql import Sql
from orchd.domain.sold import SoldSession, SoldSessions
from orchd.errors import StoreError
from orchd.sold.runner_side import tables
from orchd.sold.runner_side.proxies import SessionProxy, new_proxy_id, read_target
from orchd.sold.runner_side.session_channels import SessionChannel, new_channel
from orchd.sold.token import is_token
from orchd.tasks import caught, spawn

log = structlog.get_logger("orchd.sold")

MOST_CHANNELS = 64
MOST_PROXIES = 25
"""Of one session; that of proxies is Livepeer Node's (docs/protocol/livepeer-node.md, 4)."""
MOST_PROXIES_IN_ALL = 4096

T = TypeVar("T")


class TooManyProxies(Exception):
    """There are as many proxies as there may be.

    Attributes:
        of_session: of this session; else of all together.
    """

    def __init__(self, *, of_session: bool) -> None:
        super().__init__()
        self.of_session = of_session


class SessionOver(Exception):
    """The session has ended."""


class KeepsChannels(Protocol):
    """See `channels.ports.ChannelKeeper`."""

    def create(self, name: str, mime_type: str, session: str) -> None:
        """Make a channel.

        Raises:
            TooManyChannels.
        """
        ...

    def remove(self, name: str) -> None:
        """End a channel. One that is gone is fine."""
        ...

    def head(self, name: str) -> int | None:
        """Return how many segments were begun in a channel; None = it is gone."""
        ...

    def publish(self, name: str, body: bytes) -> None:
        """Write a whole segment."""
        ...


class KeepsRows(Protocol):
    """See `database.Database`."""

    async def transaction(self, work: Callable[[Sql], T]) -> T: ...
    async def read(self, work: Callable[[Sql], T]) -> T: ...


@dataclass(slots=True)
class _Made:
    """What was made for one session.

    Attributes:
        changing: who adds or removes something; so what is read is on the disk.
    """

    channels: dict[str, SessionChannel] = field(default_factory=dict)
    proxies: list[SessionProxy] = field(default_factory=list)
    changing: asyncio.Lock = field(default_factory=asyncio.Lock)


class RunnerSide:
    """Channels and proxies of the sessions that live.

    Args:
        keeper: of the channels.
        most_proxies: of all sessions together.
    """

    def __init__(
        self,
        sold: SoldSessions,
        keeper: KeepsChannels,
        database: KeepsRows,
        most_proxies: int = MOST_PROXIES_IN_ALL,
    ) -> None:
        self._sold = sold
        self._keeper = keeper
        self._database = database
        self._most_proxies = most_proxies
        self._made: dict[str, _Made] = {}
        self._proxies: dict[str, SessionProxy] = {}
        sold.ending.connect(self._session_ending)
        sold.ended.connect(self._session_ended)

    async def restore(self) -> None:
        """Take up what an earlier orchd has left of sessions that live on; drop what it has left of others.

        Raises:
            StoreError.
        """
        rows = await self._database.read(tables.sessions_with_rows)
        gone = [session for session in rows if self._sold.find(session) is None]
        if gone:
            await self._database.transaction(lambda sql: tables.drop_sessions(sql, gone))
        for session, channel in await self._database.read(tables.channel_rows):
            self._restore_channel(session, channel)
        for proxy in await self._database.read(tables.proxy_rows):
            self._made_for(proxy.session).proxies.append(proxy)
            self._proxies[proxy.id] = proxy

    def _restore_channel(self, session: str, channel: SessionChannel) -> None:
        try:
            self._keeper.create(channel.channel_name, channel.mime_type, session)
        except TooManyChannels:
            log.warning("session_channel_lost", session=session, name=channel.name, why="there are too many channels")
        else:
            self._made_for(session).channels[channel.name] = channel

    # Who asks.

    def speaks_for(self, session: SoldSession, token: bytes) -> bool:
        """Return whether this token is the session's. A container has not seen the one of a pending session."""
        return is_token(token, self._sold.token(session)) and not session.pending

    # Channels.

    def channel_name(self, session: str, name: str) -> str | None:
        """Return how a session's channel is called in URLs; None = it has none of this name."""
        channel = self._made[session].channels.get(name) if session in self._made else None
        return None if channel is None else channel.channel_name

    def channel_head(self, session: str, name: str) -> int | None:
        """Return how many segments were begun in a session's channel; None = there is no such channel."""
        channel_name = self.channel_name(session, name)
        return None if channel_name is None else self._keeper.head(channel_name)

    async def make_channels(self, session: SoldSession, wanted: Sequence[tuple[str, str]]) -> list[SessionChannel]:
        """Return the channels of these names, in order. Those that are there stay as they are, type and all; one that
        somebody has ended is there again, empty.

        Args:
            wanted: name and MIME type of each; an empty type is `DEFAULT_MIME_TYPE`.

        Raises:
            ValueError: one can't have its name or its type.
            TooManyChannels, SessionOver, StoreError: none was made.
        """
        new = {
            name: new_channel(name, mime_type) for name, mime_type in reversed(wanted)
        }  # The first of a name counts.
        return await _whole(self._make_channels(session, [name for name, _ in wanted], new))

    async def _make_channels(
        self, session: SoldSession, names: Sequence[str], new: dict[str, SessionChannel]
    ) -> list[SessionChannel]:
        made = self._of(session)
        async with made.changing:
            self._check_lives(session)
            wanted = {name: made.channels.get(name, channel) for name, channel in new.items()}
            if len(made.channels.keys() | wanted.keys()) > MOST_CHANNELS:
                raise TooManyChannels(session.id)
            # Whoever writes or reads a channel may have ended it, as the clients of the protocol do.
            missing = [each for each in wanted.values() if self._keeper.head(each.channel_name) is None]
            if missing:
                await self._add_channels(session, made, missing)
            return [made.channels[name] for name in names]

    async def _add_channels(self, session: SoldSession, made: _Made, missing: Sequence[SessionChannel]) -> None:
        begun: list[str] = []
        try:
            for channel in missing:
                self._keeper.create(channel.channel_name, channel.mime_type, session.id)
                begun.append(channel.channel_name)
            await self._database.transaction(partial(tables.put_channels, session=session.id, channels=missing))
            self._check_lives(session)  # If it has ended meanwhile, its rows were dropped behind ours.
        except (TooManyChannels, StoreError, SessionOver):
            for name in begun:
                self._keeper.remove(name)
            raise
        made.channels.update((channel.name, channel) for channel in missing)

    async def remove_channels(self, session: SoldSession, names: Sequence[str]) -> list[str]:
        """Remove the channels of these names, or of these names in URLs; return those of `names` that there were.

        Raises:
            SessionOver, StoreError.
        """
        return await _whole(self._remove_channels(session, names))

    async def _remove_channels(self, session: SoldSession, names: Sequence[str]) -> list[str]:
        made = self._of(session)
        async with made.changing:
            self._check_lives(session)
            found: dict[str, SessionChannel] = {}
            for channel in made.channels.values():
                found |= {word: channel for word in (channel.name, channel.channel_name) if word in names}
            gone = {channel.name: channel for channel in found.values()}
            if gone:
                await self._database.transaction(partial(tables.drop_channels, session=session.id, names=[*gone]))
            for channel in gone.values():
                self._keeper.remove(channel.channel_name)
                made.channels.pop(channel.name, None)
            return [name for name in names if name in found]

    # Proxies.

    def proxy(self, id: str) -> SessionProxy | None:
        """Return the proxy of this id; None = there is none, or its session has ended."""
        return self._proxies.get(id)

    async def make_proxy(self, session: SoldSession, target: str | None) -> SessionProxy:
        """Return a new proxy of a session.

        Args:
            target: a URL; None = the session's own runner.

        Raises:
            ValueError: the URL is no absolute one of HTTP or HTTPS.
            TooManyProxies, SessionOver, StoreError.
        """
        proxy = SessionProxy(new_proxy_id(), session.id, None if target is None else read_target(target))
        return await _whole(self._make_proxy(session, proxy, target))

    async def _make_proxy(self, session: SoldSession, proxy: SessionProxy, target: str | None) -> SessionProxy:
        made = self._of(session)
        async with made.changing:
            self._check_lives(session)
            if len(made.proxies) >= MOST_PROXIES:
                raise TooManyProxies(of_session=True)
            if len(self._proxies) >= self._most_proxies:
                raise TooManyProxies(of_session=False)
            await self._database.transaction(
                partial(tables.put_proxy, session=session.id, proxy_id=proxy.id, target=target)
            )
            self._check_lives(session)
            made.proxies.append(proxy)
            self._proxies[proxy.id] = proxy
            return proxy

    # Their end.

    def _of(self, session: SoldSession) -> _Made:
        """Return what was made for a session that lives.

        Raises:
            SessionOver.
        """
        self._check_lives(session)
        return self._made_for(session.id)

    def _made_for(self, session: str) -> _Made:
        return self._made.setdefault(session, _Made())

    def _check_lives(self, session: SoldSession) -> None:
        """Check that it has not ended; one that has come after it may have its id.

        Raises:
            SessionOver.
        """
        if self._sold.find(session.id) is not session:
            raise SessionOver

    def _session_ending(self, session: SoldSession, why: str) -> None:
        """Tell who reads its events why it ends, while its channels are still there."""
        if (events := self.channel_name(session.id, EVENTS)) is not None:
            self._keeper.publish(events, session_ended(why))

    def _session_ended(self, session: SoldSession, why: str) -> None:
        made = self._made.pop(session.id, None)
        if made is None:
            return
        for channel in made.channels.values():
            self._keeper.remove(channel.channel_name)
        for proxy in made.proxies:
            self._proxies.pop(proxy.id, None)
        spawn(self._forget(session.id), name=f"forget what session {session.id} had made")

    async def _forget(self, session: str) -> None:
        try:
            await self._database.transaction(lambda sql: tables.drop_sessions(sql, [session]))
        except StoreError as exc:
            log.warning("session_rows_left", session=session, reason=exc.message, next="the next start drops them")


async def _whole(work: Coroutine[Any, Any, T]) -> T:
    """Carry the work out also if who asked for it leaves: what is on the disk and what is in memory stay the same."""
    result, error = await asyncio.shield(spawn(caught(work), name="for a container's session"))
    if error is not None:
        raise error
    return result  # type: ignore[no-any-return]
