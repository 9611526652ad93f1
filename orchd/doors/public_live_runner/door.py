"""The door by which Live Runner's clients come to orchd itself, and pay with tickets. Pure.

Source: docs/protocol/paid-live-runner.md, 2 to 6 and 9; docs/protocol/livepeer-node.md, 4, 8 and 9.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.origins import Origin
from orchd.doors.base import Door
from orchd.doors.live_runner.answers import check_status
from orchd.doors.node_paths import oddly_spelled, on_runner, on_stream_route
from orchd.doors.own import Answered, Dropped, OwnAnswer
from orchd.doors.paths import dotted
from orchd.doors.public_live_runner.answers import (
    forwarded,
    in_clients_words,
    no_session,
    reaches_runner,
    reserved,
    status_of,
)
from orchd.doors.public_live_runner.calls import ClientCalls
from orchd.doors.public_live_runner.paths import APPS, REFRESH, Asks, ClientPath, app_path, cleaned, read_path
from orchd.doors.refusal import rendered
from orchd.doors.routes import Reserve, Route, Served, ToRunner, origin_form
from orchd.errors import Code, JobRefused
from orchd.hooks.refusal import Refusal
from orchd.http1.names import Header, Memo
from orchd.http1.rules import RequestHead
from orchd.realtime.routes import StreamCall

DROP_S = 30.0
"""For how many seconds the body of a job is dropped that is to be paid for: clients send all of it before they read."""
MIB = 1024 * 1024
ANY_LENGTH = 1 << 62
REFRESH_BYTES = 64 * 1024
"""Longest body of a request for fresh terms: it names a payer and a session."""


class PublicLiveRunnerDoor(Door):
    """The path names model and session; two headers hold a payment.

    Args:
        calls: answers what is no job.
        url: origin that clients are told.
        base_path: what stands before every path of the listener.
    """

    name: ClassVar[str] = "public-live-runner"
    origin: ClassVar[Origin] = Origin.SOLD
    public: ClassVar[bool] = True
    sells: ClassVar[bool] = True
    compares_paths: ClassVar[bool] = True
    passing: ClassVar[Memo[bytes, bool]] = Memo(reaches_runner)
    at_root: ClassVar[frozenset[str]] = frozenset({REFRESH})

    def __init__(self, calls: ClientCalls, url: str, base_path: str = "") -> None:
        self._calls = calls
        self._url = url
        self._base_path = base_path

    def takes(self, path: str) -> bool:
        """The routes that clients know, spelled as they spell them."""
        return read_path(path) is not None

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        """By path and method; and by whether there is a payment, or is to be one."""
        path, mark, query = origin_form(target).partition("?")
        asked = read_path(path)
        assert asked is not None
        match asked.asks:
            case Asks.DISCOVERY:
                _check_method(head, "GET", "HEAD")
                return OwnAnswer(asked.asks, partial(self._calls.discover, query))
            case Asks.IN_SESSION | Asks.SINGLE_SHOT:
                return self._to_app(head, asked, mark + query, served)
        _check_method(head, "POST")
        match asked.asks:
            case Asks.RESERVE:
                return self._reserve(head, asked, served)
            case Asks.STOP:
                return OwnAnswer(asked.asks, partial(self._calls.stop, asked))
            case Asks.TOP_UP:
                return OwnAnswer(asked.asks, partial(self._calls.top_up, asked))
        return OwnAnswer(asked.asks, self._calls.refresh, REFRESH_BYTES)

    def refuses(
        self, call: StreamCall | None, path: str, model: Model, head: RequestHead, bases: Sequence[str]
    ) -> tuple[Code, str] | None:
        """A call about a stream that only some servers would take for one; of a model without sessions each."""
        if model.persistent:
            return oddly_spelled(call, path, model, head.method)
        if on_stream_route(call, path, model, head, bases):
            return Code.STREAM_ROUTE, f"cannot send a job of {model.key} to a route of its streams"
        return None

    def in_session(self, model: Model) -> bool:
        """Sessions of persistent models are reserved, and every request is within one."""
        return model.persistent

    def check_status(self, status: int, key: ModelKey) -> None:
        """402, 480 and 482 are about payment to these clients, too."""
        check_status(status, key)

    def root(self, request: RequestHead, way: ToRunner) -> str:
        """Relative, so that it holds behind any proxy."""
        path = origin_form(request.target.decode("latin-1")).partition("?")[0]
        below = path.removeprefix(self._base_path + app_path(way.slug, way.session))
        return "../" * (below.count("/") - 1) or "./" if below else "app/"

    def forwarded(self, request: RequestHead, peer: str, scheme: str) -> bytes:
        """See `answers`."""
        return forwarded(request, peer, scheme)

    def told_status(self, why: JobRefused) -> int:
        """See `answers`."""
        return status_of(why)

    def refusal(self, why: JobRefused, request_id: str, secrets: Iterable[str] = ()) -> tuple[int, list[Header], bytes]:
        """See `answers`."""
        status = self.told_status(why)
        return status, *rendered(why, request_id, secrets, status=status, wording=in_clients_words)

    def _reserve(self, head: RequestHead, asked: ClientPath, served: Served) -> Route:
        model = _model(asked, served)
        if not model.persistent:
            raise JobRefused(Code.BAD_REQUEST, f"cannot reserve a session: {model.key} is sold by the job, at .../app")
        if _pays(head) or self._calls.desk.is_free(model):
            return Reserve(model.key, asked.slug, partial(reserved, f"{self._url}{self._base_path}{APPS}{asked.slug}"))
        return self._challenge(model)

    def _to_app(self, head: RequestHead, asked: ClientPath, query: str, served: Served) -> Route:
        """Return the way of a job, or of a request within a session.

        Raises:
            JobRefused.
        """
        if asked.session and ((session := self._calls.of_path(asked)) is None or not session.persistent):
            raise no_session()
        model = _model(asked, served)
        if not asked.session and model.persistent:
            raise JobRefused(Code.BAD_REQUEST, f"cannot take a job: {model.key} is sold by the session; reserve one")
        rest = cleaned(asked.rest)
        if dotted(rest):
            raise JobRefused(Code.BAD_REQUEST, "cannot pass the path on: it has dot segments (..)")
        if rest != asked.rest:
            return self._redirect(model, f"{app_path(asked.slug, asked.session)}/{rest}{query}")
        if asked.session or _pays(head) or self._calls.desk.is_free(model):
            target, drops = on_runner(rest, model) + query, None if asked.session else _body_of(model)
            return ToRunner(model.key, target, asked.slug, session=asked.session, drops=drops)
        return self._challenge(model)

    def _challenge(self, model: Model) -> OwnAnswer:
        return OwnAnswer(Asks.RESERVE, partial(self._calls.challenge, model), drops=_body_of(model))

    def _redirect(self, model: Model, target: str) -> OwnAnswer:
        leads = (self._base_path + target).encode("latin-1")
        return OwnAnswer("redirect", lambda _: Answered(307, b"", ((b"Location", leads),)), drops=_body_of(model))


def _model(asked: ClientPath, served: Served) -> Model:
    key = served.slugs.get(asked.slug)
    if key is None:
        # Whoever has a session of it is not told that there never was one: its client would drop it for good.
        code = Code.NOT_OFFERED if asked.session else Code.UNKNOWN_MODEL
        raise JobRefused(code, "cannot serve the request: no such model is sold here now")
    return served.models[key]


def _body_of(model: Model) -> Dropped:
    return Dropped(model.inference.max_body_mb * MIB or ANY_LENGTH, DROP_S)


def _pays(head: RequestHead) -> bool:
    """Return whether a request brings a payment: an empty header is as good as none."""
    return bool(head.value(b"livepeer-payment") and head.value(b"livepeer-segment"))


def _check_method(head: RequestHead, *methods: str) -> None:
    if head.method.decode("latin-1") not in methods:
        allowed = ", ".join(methods)
        raise Refusal(
            405,
            f"cannot serve the request: its method must be one of {allowed}",
            headers=[("Allow", allowed)],
            code=Code.BAD_REQUEST,
        )
