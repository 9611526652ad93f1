"""What a container asks for its session with the session's token: requests and answers as Livepeer Node has them.

Source: docs/protocol/livepeer-node.md, 8.3. Only the text of a proxy too many is our own: the node calls the token
invalid then.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from orchd.channels.channels import TooManyChannels
from orchd.domain.ids import ModelKey
from orchd.domain.live_runner import TOKEN
from orchd.domain.outcomes import Outcome
from orchd.domain.sold import EndWord, SoldSession, SoldSessions
from orchd.doors.own import Answered, OwnRequest
from orchd.errors import Code, StoreError
from orchd.hooks.refusal import Refusal
from orchd.sold.runner_side.proxies import SessionProxy
from orchd.sold.runner_side.runner_side import MOST_PROXIES, SessionOver, TooManyProxies
from orchd.sold.runner_side.session_channels import SessionChannel

MOST_CHANNELS = 25
"""In one request."""
MOST_NAMES = 256
MAX_BODY_BYTES = 64 * 1024


class SessionMakings(Protocol):
    """See `sold.runner_side.runner_side.RunnerSide`."""

    def speaks_for(self, session: SoldSession, token: bytes) -> bool: ...
    async def make_channels(self, session: SoldSession, wanted: Sequence[tuple[str, str]]) -> list[SessionChannel]: ...
    async def remove_channels(self, session: SoldSession, names: Sequence[str]) -> list[str]: ...
    async def make_proxy(self, session: SoldSession, target: str | None) -> SessionProxy: ...
    def proxy(self, id: str) -> SessionProxy | None: ...


class MakingUrls(Protocol):
    """See `sold.runner_side.urls.RunnerUrls`."""

    def channel(self, channel_name: str) -> str: ...
    def internal_channel(self, channel_name: str, key: ModelKey) -> str: ...
    def proxy(self, id: str) -> str: ...


class Callbacks:
    """Answers what containers ask for their sessions.

    Args:
        makings: what they have made.
        urls: where that is reached.
    """

    def __init__(self, sold: SoldSessions, makings: SessionMakings, urls: MakingUrls) -> None:
        self._sold = sold
        self._makings = makings
        self._urls = urls

    async def stop(self, slug: str, id: str, asked: OwnRequest) -> Answered:
        """Answer `POST .../stop`.

        Raises:
            Refusal.
        """
        if self._find(slug, id) is None:
            raise refusal(404, "session not found")
        session = self._session(slug, id, asked)
        session.end(Outcome.OK, "its container has stopped it", EndWord.STOPPED)
        await self._sold.forgotten(session, asked.seconds / 2)
        return answered({"ok": True})

    async def make_channels(self, slug: str, id: str, asked: OwnRequest) -> Answered:
        """Answer `POST .../channels`.

        Raises:
            Refusal.
        """
        session = self._session(slug, id, asked)
        listed = _listed(asked.body)
        if len(listed) > MOST_CHANNELS:
            raise refusal(400, "invalid channels request")
        wanted = [_channel(each) for each in listed]
        try:
            made = await self._makings.make_channels(session, wanted)
        except ValueError as exc:
            raise refusal(400, "invalid channels request", str(exc)) from exc
        except TooManyChannels as exc:
            raise refusal(503, "too many channels") from exc
        except (SessionOver, StoreError) as exc:
            raise _not_made(exc) from exc
        return answered({"channels": [self._shown(session, channel) for channel in made]})

    async def remove_channels(self, slug: str, id: str, asked: OwnRequest) -> Answered:
        """Answer `DELETE .../channels`.

        Raises:
            Refusal.
        """
        session = self._session(slug, id, asked)
        names = _listed(asked.body)
        if len(names) > MOST_NAMES or not all(isinstance(name, str) for name in names):
            raise refusal(400, "invalid channels request")
        try:
            return answered({"deleted": await self._makings.remove_channels(session, names)})
        except (SessionOver, StoreError) as exc:
            raise _not_made(exc) from exc

    async def make_proxy(self, slug: str, id: str, asked: OwnRequest) -> Answered:
        """Answer `POST .../proxy`.

        Raises:
            Refusal.
        """
        session = self._session(slug, id, asked)
        target = _object(asked.body, "invalid proxy JSON").get("target_url") or None
        if target is not None and not isinstance(target, str):
            raise refusal(400, "invalid proxy JSON")
        try:
            proxy = await self._makings.make_proxy(session, target)
        except ValueError as exc:
            raise refusal(400, "destination must be an absolute HTTP or HTTPS URL", str(exc)) from exc
        except TooManyProxies as exc:
            if exc.of_session:
                raise refusal(403, f"too many proxies: a session has {MOST_PROXIES} at most") from exc
            raise refusal(503, "too many proxies") from exc
        except (SessionOver, StoreError) as exc:
            raise _not_made(exc) from exc
        return answered({"proxy_id": proxy.id, "url": self._urls.proxy(proxy.id)})

    def no_proxy(self, asked: OwnRequest) -> Answered:
        """Answer a call of a proxy that there is not.

        Raises:
            Refusal: always.
        """
        raise refusal(404, "proxy not found")

    def _shown(self, session: SoldSession, channel: SessionChannel) -> dict[str, str]:
        return {
            "name": channel.name,
            "channel_name": channel.channel_name,
            "url": self._urls.channel(channel.channel_name),
            "internal_url": self._urls.internal_channel(channel.channel_name, session.key),
            "mime_type": channel.mime_type,
        }

    def _find(self, slug: str, id: str) -> SoldSession | None:
        session = self._sold.find(id)
        return session if session is not None and session.key.slug == slug else None

    def _session(self, slug: str, id: str, asked: OwnRequest) -> SoldSession:
        """Return the session that the request speaks for.

        Raises:
            Refusal: it brings no token of such a session.
        """
        session, token = self._find(slug, id), asked.job.header(TOKEN.lower().encode()) or b""
        if session is None or not self._makings.speaks_for(session, token):
            raise refusal(403, "invalid session token")
        return session


def answered(what: Mapping[str, Any]) -> Answered:
    """Return an answer in JSON, as a node writes it."""
    return Answered(200, json.dumps(what, separators=(",", ":")).encode() + b"\n")


def refusal(status: int, text: str, why: str = "") -> Refusal:
    """Return a refusal as a node words it.

    Args:
        why: the same for our own log; empty = the text says it all.
    """
    code = Code.FORBIDDEN if status == 403 else Code.STREAM_UNKNOWN if status == 404 else Code.BAD_REQUEST
    code = Code.CHANNELS_UNAVAILABLE if status == 503 else code
    return Refusal(status, why or f"cannot do that for a session: {text}", body={"error": text}, code=code)


def _not_made(why: SessionOver | StoreError) -> Refusal:
    """Return what a container is told when its session has just ended, or when nothing can be kept for it."""
    if isinstance(why, SessionOver):
        return refusal(403, "invalid session token")
    return refusal(503, "store unavailable", why.message)


def _object(body: bytes, wrong: str) -> dict[str, Any]:
    """Return the object in a body; `null` counts as an empty one.

    Raises:
        Refusal: 400 with this text: there is none.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise refusal(400, wrong) from exc
    if not isinstance(found, dict | None):
        raise refusal(400, wrong)
    return found or {}


def _listed(body: bytes) -> list[Any]:
    """Return the list `channels` of a body; none = an empty one.

    Raises:
        Refusal: 400.
    """
    listed = _object(body, "invalid channels request").get("channels")
    if not isinstance(listed, list | None):
        raise refusal(400, "invalid channels request")
    return listed or []


def _channel(said: object) -> tuple[str, str]:
    """Return name and MIME type of a channel that is asked for.

    Raises:
        Refusal: 400.
    """
    if not isinstance(said, dict):
        raise refusal(400, "invalid channels request")
    name, mime_type = said.get("name"), said.get("mime_type")
    if not isinstance(name, str | None) or not isinstance(mime_type, str | None):
        raise refusal(400, "invalid channels request")
    if not name:
        raise refusal(400, "channel name required")
    return name, mime_type or ""
