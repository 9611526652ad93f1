"""Sessions of runners: reserved and used by clients, steered by the runner's callbacks. Source: live-runner.md 4, 5.

Payments are not here: on chain a request without one gets the 402 challenge, and one with one is refused.
"""

from __future__ import annotations

import base64
import re
import secrets
from collections.abc import Awaitable, Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from tests.doubles.golivepeer.live_entries import is_absolute
from tests.doubles.golivepeer.live_registry import Refused, Runner, Session, random_id
from tests.doubles.shared import go_json
from tests.doubles.shared.answers import json_answer, method_not_allowed, not_found
from tests.doubles.shared.go_http import json_text, text_error
from tests.doubles.shared.go_json import GoJsonError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.doubles.golivepeer.live_runner import LiveRunners

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TOKEN = "Livepeer-Session-Token"
MAX_CHANNELS = 25
_CHANNEL_NAME = re.compile(r"[A-Za-z0-9_-]+")


class Sessions:
    def __init__(self, live: LiveRunners) -> None:
        self._live = live
        self._registry = live.registry

    def routes(self) -> list[web.RouteDef]:
        """Of the proxy URL's forms only the one with `{proxy}` as the last path segment is here."""
        proxy_path = urlsplit(self._live.proxy_url).path.removesuffix("/{proxy}")
        return [
            self._route("/apps/{route}/session", self._reserve, "POST"),
            self._route("/apps/{route}/session/{id}/stop", self._stop, "POST"),
            self._route("/apps/{route}/session/{id}/payment", self._payment, "POST"),
            self._route("/apps/{route}/session/{id}/app", _with_slash),
            self._route("/apps/{route}/session/{id}/app/{path:.*}", self._use),
            self._route("/apps/{route}/app", _with_slash),
            self._route("/apps/{route}/app/{path:.*}", self._single_shot),
            self._route(f"{proxy_path}/{{proxy}}", self._through_proxy),
            self._route(f"{proxy_path}/{{proxy}}/{{path:.*}}", self._through_proxy),
            self._route("/runner/{route}/session/{id}/channels", self._channels, "POST", "DELETE"),
            self._route("/runner/{route}/session/{id}/proxy", self._add_proxy, "POST"),
            self._route("/runner/{route}/session/{id}/stop", self._stop_by_runner, "POST"),
        ]

    def _route(self, path: str, handler: Handler, *methods: str) -> web.RouteDef:
        return web.route("*", path, self._live.guarded(handler, *methods))

    async def _reserve(self, request: web.Request) -> web.StreamResponse:
        runner = self._registry.at(request.match_info["route"])
        if not runner.persistent:
            raise Refused(400, "only persistent runners have sessions")
        if (challenge := self._unpaid(request, runner)) is not None:
            return challenge
        session = self._registry.reserve(runner)
        control = f"{self._live.base_url}/apps/{runner.route}/session/{session.session_id}"
        app_url = f"{control}/app"
        if runner.entry.proxy:
            app_url = self._proxy_url(session, runner.entry.runner_url)[1]
        return json_answer({"session_id": session.session_id, "app_url": app_url, "control_url": control})

    async def _use(self, request: web.Request) -> web.StreamResponse:
        runner, session = self._registry.session(request.match_info["route"], request.match_info["id"])
        return await self._forward(request, runner, session, runner.entry.runner_url, _rest(request, 6))

    async def _stop(self, request: web.Request) -> web.StreamResponse:
        runner = self._registry.alive(request.match_info["route"])
        self._registry.release(runner, request.match_info["id"])
        return web.Response(status=204)

    async def _payment(self, request: web.Request) -> web.StreamResponse:
        runner, _ = self._registry.session(request.match_info["route"], request.match_info["id"])
        if runner.entry.price is not None and runner.entry.price.unit == "fixed":
            raise Refused(409, "live runner session has a fixed price")
        raise Refused(402, "payments are not part of this double")

    async def _single_shot(self, request: web.Request) -> web.StreamResponse:
        return await self._reserve_and_forward(request, request.match_info["route"], _rest(request, 4))

    async def _reserve_and_forward(self, request: web.Request, route: str, raw_path: str) -> web.StreamResponse:
        runner = self._registry.at(route)
        if runner.persistent:
            raise Refused(400, "runner is not single-shot")
        if (challenge := self._unpaid(request, runner)) is not None:
            return challenge
        session = self._registry.reserve(runner)
        try:
            return await self._forward(request, runner, session, runner.entry.runner_url, raw_path)
        finally:
            self._registry.release(runner, session.session_id)

    async def _through_proxy(self, request: web.Request) -> web.StreamResponse:
        template = urlsplit(self._live.proxy_url)
        if request.host.lower() != template.netloc.lower():
            return not_found()
        proxy_id, raw_path = request.match_info["proxy"], _rest(request, template.path.count("/") + 1)
        single_shots = [found for found in self._registry.runners() if found.entry.proxy and not found.persistent]
        if proxy_id in [runner.route for runner in single_shots]:
            return await self._reserve_and_forward(request, proxy_id, raw_path)
        runner, session, base_url = self._registry.proxied(proxy_id)
        return await self._forward(request, runner, session, base_url, raw_path)

    async def _forward(
        self, request: web.Request, runner: Runner, session: Session, base_url: str, raw_path: str
    ) -> web.StreamResponse:
        base = self._live.runner_base_url
        added = {
            "Livepeer-Runner-Route": runner.route,
            "Livepeer-Session-Id": session.session_id,
            TOKEN: session.token,
            "Livepeer-Session-Control": f"{base}/runner/{runner.route}/session/{session.session_id}",
        }
        return await self._live.proxy.forward(request, base_url, raw_path, added)

    def _unpaid(self, request: web.Request, runner: Runner) -> web.Response | None:
        """Return the challenge where a payment is due and none came. Raises Refused."""
        if not self._live.on_chain:
            return None
        if self._live.price(runner) is None:
            raise Refused(503, "live runner price unavailable: no price for the currency")
        if "Livepeer-Payment" in request.headers:
            raise Refused(402, "payments are not part of this double")
        manifest_id = secrets.token_hex(4)
        control = f"{self._live.base_url}/apps/{runner.route}/session/{manifest_id}"
        challenge = {
            "payment_params": base64.b64encode(self._live.orchestrator_info()).decode(),
            "orchestrator": self._live.base_url,
            "manifest_id": manifest_id,
            "payment_url": f"{control}/payment",
        }
        return json_text(go_json.encode(challenge), 402)

    def _by_runner(self, request: web.Request) -> tuple[Runner, Session]:
        """Raises Refused."""
        runner, session = self._registry.session(request.match_info["route"], request.match_info["id"])
        if request.headers.get(TOKEN) != session.token:
            raise Refused(401, "invalid authorization")
        return runner, session

    async def _stop_by_runner(self, request: web.Request) -> web.StreamResponse:
        runner, session = self._by_runner(request)
        self._registry.release(runner, session.session_id)
        return web.Response(status=204)

    async def _channels(self, request: web.Request) -> web.StreamResponse:
        _, session = self._by_runner(request)
        said = await _object(request)
        wanted = go_json.field(said, "channels")
        if not isinstance(wanted, list) or not 0 < len(wanted) <= MAX_CHANNELS:
            raise Refused(400, f"channels must be 1 to {MAX_CHANNELS}")
        if request.method == "DELETE":
            return json_answer({"deleted": [self._delete_channel(session, str(name)) for name in wanted]})
        return json_answer({"channels": [self._make_channel(session, channel) for channel in wanted]})

    def _make_channel(self, session: Session, said: Any) -> dict[str, str]:
        """A bad one leaves those before it made. Raises Refused."""
        with _bad_request():
            if not isinstance(said, dict):
                raise GoJsonError("json: cannot unmarshal into Go struct field .channels")
            name = go_json.string(go_json.field(said, "name"), ".channels.name").replace("/", "-")
            mime_type = go_json.string(go_json.field(said, "mime_type"), ".channels.mime_type")
        if not _CHANNEL_NAME.fullmatch(name):
            raise Refused(400, "invalid trickle channel name")
        mime_type = session.channels.setdefault(name, mime_type or "application/octet-stream")
        channel_name = session.channel_name(name)
        self._live.trickle.create(channel_name, mime_type)
        path = f"/ai/trickle/{channel_name}"
        return {
            "name": name,
            "channel_name": channel_name,
            "url": self._live.base_url + path,
            "internal_url": self._live.runner_base_url + path,
            "mime_type": mime_type,
        }

    def _delete_channel(self, session: Session, name: str) -> str:
        """Raises Refused."""
        if session.channels.pop(name, None) is None:
            raise Refused(404, "trickle channel not found")
        self._live.trickle.close(session.channel_name(name))
        return name

    async def _add_proxy(self, request: web.Request) -> web.StreamResponse:
        runner, session = self._by_runner(request)
        said = await _object(request)
        with _bad_request():
            target = go_json.string(go_json.field(said, "target_url"), ".target_url") or runner.entry.runner_url
        if not is_absolute(target) or urlsplit(target).fragment:
            raise Refused(400, "invalid target_url")
        if urlsplit(target).hostname != urlsplit(runner.entry.runner_url).hostname:
            raise Refused(400, "target_url must have the host of runner_url")
        proxy_id, url = self._proxy_url(session, target)
        return json_answer({"proxy_id": proxy_id, "url": url})

    def _proxy_url(self, session: Session, target: str) -> tuple[str, str]:
        proxy_id = random_id(26)
        session.proxies[proxy_id] = target
        return proxy_id, self._live.proxy_url.format(proxy=proxy_id)


async def _with_slash(request: web.Request) -> web.StreamResponse:
    """The advertised URL as it stands: the router sends the caller to the one with a slash."""
    query = request.rel_url.raw_query_string
    return web.Response(
        status=307, headers={"Location": request.rel_url.raw_path + "/" + (f"?{query}" if query else "")}
    )


def _rest(request: web.Request, parts: int) -> str:
    """What the path holds after `parts` slashes, as the caller escaped it."""
    split = request.rel_url.raw_path.split("/", parts)
    return split[parts] if len(split) > parts else ""


async def _object(request: web.Request) -> dict[str, Any]:
    """The body's JSON object; empty if there is no body. Raises Refused."""
    text = (await request.read()).decode("utf-8", "replace")
    if not text.strip():
        return {}
    with _bad_request():
        said = go_json.decode(text, stream=True)
        if not isinstance(said, dict):
            raise GoJsonError(f"json: cannot unmarshal {go_json.kind(said)} into Go value")
        return said


@contextmanager
def _bad_request() -> Iterator[None]:
    try:
        yield
    except GoJsonError as error:
        raise Refused(400, str(error)) from error


def guard(enabled: Callable[[], bool], handler: Handler, methods: tuple[str, ...]) -> Handler:
    """Refuse what the node has no registry for, or of another method; put `Refused` into an answer."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        if not enabled():
            return text_error(404, "live runners are not supported")
        if methods and request.method not in methods:
            return method_not_allowed(*methods)
        try:
            return await handler(request)
        except Refused as refused:
            return text_error(refused.status, str(refused))

    return guarded
