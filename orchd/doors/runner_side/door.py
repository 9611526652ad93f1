"""The door of containers and of their proxies: on the listener for payers, and on that of the runner's side. Pure.

    POST /runner/SLUG/session/ID/stop                  what a container asks for its session (`callbacks`)
    POST, DELETE /runner/SLUG/session/ID/channels
    POST /runner/SLUG/session/ID/proxy
    /proxy/ID[/...], /run/ID[/...]                     to the session's runner, or to where its proxy leads

A call of a proxy is a request in its session. Paths go on byte for byte; nothing in them is decoded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import Model
from orchd.domain.origins import Origin
from orchd.domain.sold import SoldSessions
from orchd.doors.base import AnswerShape, Door
from orchd.doors.live_runner.answers import check_status
from orchd.doors.node_paths import oddly_spelled, on_runner
from orchd.doors.own import OwnAnswer
from orchd.doors.paths import climbs
from orchd.doors.public_live_runner.answers import forwarded, reaches_runner
from orchd.doors.routes import ProxyDestination, Route, Served, ToRunner, origin_form
from orchd.doors.runner_side.callbacks import MAX_BODY_BYTES, Callbacks, SessionMakings, refusal
from orchd.errors import Code
from orchd.hooks.refusal import Refusal
from orchd.http1.names import Memo
from orchd.http1.rules import AnswerHead, RequestHead
from orchd.realtime.routes import StreamCall

CALLBACKS = "/runner/"
PROXIES = ("/proxy/", "/run/")
_PROXY = re.compile(r"[^?]*?/(?:proxy|run)/[a-z2-7]{26}(?=[/?]|$)")


class RunnerSideDoor(Door):
    """Who has a session's token speaks for it; who has a proxy's URL may call it.

    Args:
        makings: what containers have made.
        may_dial: whether a proxy may dial this IP address and port (`sold.runner_side.grants.Grants.allows`).
    """

    name: ClassVar[str] = "runner-side"
    origin: ClassVar[Origin] = Origin.SOLD
    public: ClassVar[bool] = True
    compares_paths: ClassVar[bool] = True
    passing: ClassVar[Memo[bytes, bool]] = Memo(reaches_runner)

    def __init__(
        self,
        sold: SoldSessions,
        makings: SessionMakings,
        callbacks: Callbacks,
        may_dial: Callable[[str, int], bool],
    ) -> None:
        self._sold = sold
        self._makings = makings
        self._callbacks = callbacks
        self._may_dial = may_dial

    def takes(self, path: str) -> bool:
        """What is below the three folders."""
        return path.startswith((CALLBACKS, *PROXIES))

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        """By the path alone."""
        path, mark, query = origin_form(target).partition("?")
        if path.startswith(CALLBACKS):
            return self._callback(head, path)
        id, _, rest = path[1:].partition("/")[2].partition("/")
        proxy = self._makings.proxy(id)
        session = None if proxy is None else self._sold.find(proxy.session)
        if proxy is None or session is None or session.key not in served.models:
            return OwnAnswer("proxy", self._callbacks.no_proxy, hooks=False)
        key = session.key
        if proxy.target is None:
            there = on_runner(rest, served.models[key]) + mark + query
            return ToRunner(key, there, key.slug, session=session.id, fleeting=True)
        if climbs(f"/{rest}"):
            raise refusal(400, "invalid path")
        elsewhere = ProxyDestination(proxy.target.address, self._may_dial)
        return ToRunner(
            key, proxy.target.below(rest, query), key.slug, session=session.id, elsewhere=elsewhere, fleeting=True
        )

    def _callback(self, head: RequestHead, path: str) -> OwnAnswer:
        match path.split("/")[2:]:
            case [slug, "session", id, "stop"]:
                _check_method(head, "POST")
                return OwnAnswer("stop", partial(self._callbacks.stop, slug, id), hooks=False)
            case [slug, "session", id, "channels"]:
                _check_method(head, "POST", "DELETE")
                posts = head.method == b"POST"
                answer = self._callbacks.make_channels if posts else self._callbacks.remove_channels
                return OwnAnswer("channels", partial(answer, slug, id), MAX_BODY_BYTES, hooks=False)
            case [slug, "session", id, "proxy"]:
                _check_method(head, "POST")
                return OwnAnswer("proxies", partial(self._callbacks.make_proxy, slug, id), MAX_BODY_BYTES, hooks=False)
        raise refusal(404, "not found")

    def refuses(
        self, call: StreamCall | None, path: str, model: Model, head: RequestHead, bases: Sequence[str]
    ) -> tuple[Code, str] | None:
        """A call about a stream that only some servers would take for one."""
        return oddly_spelled(call, path, model, head.method)

    def in_session(self, model: Model) -> bool:
        """Every call of a proxy is a request in its session."""
        return True

    def forwarded(self, request: RequestHead, peer: str, scheme: str) -> bytes:
        """As of any request of a client's."""
        return forwarded(request, peer, scheme)

    def check_status(self, status: int, key: ModelKey) -> None:
        """As the node's door: some statuses are words of the client's signer."""
        check_status(status, key)

    def shape(self, answer: AnswerHead, request: RequestHead, way: ToRunner, address: Address) -> AnswerShape:
        """A `Location` of where the proxy leads stays below the proxy."""
        return super().shape(answer, request, way, address if way.elsewhere is None else way.elsewhere.address)

    def root(self, request: RequestHead, way: ToRunner) -> str:
        """The proxy's own URL, as its caller spells it, whatever stands before it."""
        found = _PROXY.match(origin_form(request.target.decode("latin-1")))
        return f"{found[0]}/" if found else "./"


def _check_method(head: RequestHead, *methods: str) -> None:
    if head.method.decode("latin-1") not in methods:
        raise Refusal(
            405,
            f"cannot serve the request: its method must be {' or '.join(methods)}",
            headers=[("Allow", ", ".join(methods))],
            body={"error": "method not allowed"},
            code=Code.BAD_REQUEST,
        )
