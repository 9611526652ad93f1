"""What a runner may ask for within a session, with the session's token. Source: livepeer-node.md 8.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.doubles.livepeer_node import bodies
from tests.doubles.livepeer_node.entries import IDENTIFIER, is_absolute
from tests.doubles.livepeer_node.manners import said
from tests.doubles.livepeer_node.registry import BAD_TOKEN, NO_SESSION, Refused, Session, base32
from tests.doubles.livepeer_node.routes import Route, route
from tests.doubles.livepeer_node.sessions import TOKEN
from tests.doubles.shared import go_json

if TYPE_CHECKING:
    from tests.doubles.livepeer_node.live_runners import LiveRunners

MAX_CHANNELS_A_CALL = 25
MAX_CHANNELS = 768
_BAD_CHANNELS = "invalid channels request"
_BAD_PROXY = "invalid proxy JSON"
_MIME_TYPE = "application/octet-stream"


class Callbacks:
    def __init__(self, live: LiveRunners) -> None:
        self._live = live
        self._registry = live.registry
        self._channels = live.trickle.channels

    def routes(self) -> list[Route]:
        return [
            route("/runner/{id}/session/{sid}/stop", self._stop, "POST"),
            route("/runner/{id}/session/{sid}/channels", self._change_channels, "POST", "DELETE"),
            route("/runner/{id}/session/{sid}/proxy", self._add_proxy, "POST"),
        ]

    def closed(self, session: Session) -> None:
        """Close the channels of a session that has ended."""
        for name in session.channels.values():
            self._channels.remove(name)

    def _by_token(self, request: web.Request, runner_id: str, session_id: str) -> Session:
        """Raises Refused; an unknown session counts as a bad token, as does a pending one."""
        runner = self._registry.known(runner_id)
        session = runner.sessions.get(session_id) if runner is not None else None
        if session is None or session.pending or request.headers.get(TOKEN) != session.token:
            raise Refused(403, BAD_TOKEN)
        return session

    async def _stop(self, request: web.Request, runner_id: str, session_id: str) -> web.StreamResponse:
        session = self._registry.session(runner_id, session_id)
        if request.headers.get(TOKEN) != session.token:
            raise Refused(403, BAD_TOKEN)
        self._registry.end(session)
        return said({"ok": True})

    async def _change_channels(self, request: web.Request, runner_id: str, session_id: str) -> web.StreamResponse:
        session = self._by_token(request, runner_id, session_id)
        found = await bodies.read_object(request, self._live.clock, _BAD_CHANNELS)
        wanted = go_json.field(found, "channels")
        wanted = [] if wanted is None else wanted
        if not isinstance(wanted, list) or len(wanted) > MAX_CHANNELS_A_CALL:
            raise Refused(400, _BAD_CHANNELS)
        if request.method == "DELETE":
            return said({"deleted": [name for name in wanted if self._delete(session, name)]})
        return said({"channels": self._make(session, wanted)})

    def _make(self, session: Session, wanted: list[Any]) -> list[dict[str, str]]:
        """All or none. Raises Refused."""
        asked = [_asked(channel) for channel in wanted]
        new = {name for name, _ in asked} - set(session.channels)
        if len(self._channels.names()) + len(new) > MAX_CHANNELS:
            raise Refused(503, "too many channels")
        return [self._channel(session, name, mime_type) for name, mime_type in asked]

    def _channel(self, session: Session, name: str, mime_type: str) -> dict[str, str]:
        if name not in session.channels:
            alone = f"channel_{base32(16)}"
            named = f"{alone}-{name}"
            session.channels[name] = named if IDENTIFIER.fullmatch(named) else alone
        channel_name = session.channels[name]
        channel = self._channels.create(channel_name, mime_type or _MIME_TYPE)
        path = f"/ai/trickle/{channel_name}"
        return {
            "channel_name": channel_name,
            "internal_url": self._live.runner_base_url + path,
            "mime_type": channel.mime_type,
            "name": name,
            "url": self._live.base_url + path,
        }

    def _delete(self, session: Session, name: Any) -> bool:
        for given, channel_name in session.channels.items():
            if name in (given, channel_name):
                del session.channels[given]
                self._channels.remove(channel_name)
                return True
        return False

    async def _add_proxy(self, request: web.Request, runner_id: str, session_id: str) -> web.StreamResponse:
        session = self._by_token(request, runner_id, session_id)
        found = await bodies.read_object(request, self._live.clock, _BAD_PROXY)
        target = bodies.text(found, "target_url", _BAD_PROXY)
        if target and not is_absolute(target):
            raise Refused(400, "destination must be an absolute HTTP or HTTPS URL")
        if not target and not self._registry.usable(session.runner):
            raise Refused(400, NO_SESSION)
        grants = self._live.policies.session_proxies
        proxy_id = self._registry.add_proxy(session, target or session.runner.entry.runner_url, grants)
        return said({"proxy_id": proxy_id, "url": self._live.template.url(proxy_id)})


def _asked(channel: Any) -> tuple[str, str]:
    """Return name and MIME type. Raises Refused."""
    if not isinstance(channel, dict):
        raise Refused(400, _BAD_CHANNELS)
    name = bodies.text(channel, "name", _BAD_CHANNELS)
    if not name:
        raise Refused(400, "channel name required")
    return name, bodies.text(channel, "mime_type", _BAD_CHANNELS)
