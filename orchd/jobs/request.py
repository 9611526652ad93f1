"""Which model a request is for, and what of its headers goes on. Pure.

Headers are pairs of bytes, as they came. A target is text in which each character is one byte (latin-1).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as attribute
from urllib.parse import quote, unquote

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import Model
from orchd.domain.nearest import listed, nearest_model
from orchd.errors import Code, JobRefused
from orchd.http1 import render
from orchd.http1.names import LOWER, Header, Memo
from orchd.http1.rules import NO_NAMES, AnswerHead, RequestHead
from orchd.realtime.routes import has_streams, spelling
from orchd.realtime.stream import Origin
from orchd.relay.headers import TO_CALLER, TO_RUNNER, may_reach_runner, passing, persistence

FORM = "application/x-www-form-urlencoded"
PATH_SAFE = "/?%:@!$&'()*+,;="  # What a path of the operator's may hold as it is.
NAMED_AT_MOST = 5
MOST_NAME_LETTERS = 4096
"""Of a pipeline or a model id in a path, escapes and all."""
REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,64}")
KEEP_ALIVE = b"Connection: keep-alive\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
STREAM_ID = b"x-stream-id"
"""Names the stream in each of the node's BYOC calls about one, and is in none of its jobs (byoc.md 5.3 and 6.2)."""
SESSION_HEADERS = frozenset(
    {b"livepeer-runner-route", b"livepeer-session-id", b"livepeer-session-token", b"livepeer-session-control"}
)
"""What Live Runner tells a container, so that it can open channels and stop (live-runner.md 4.3 and 5)."""


@dataclass(frozen=True, slots=True)
class ToRunner:
    """The job goes to this model's runner.

    Attributes:
        target: path and query on the runner, byte for byte; an external runner's base path comes before it.
        via: the side from which it came.
        slug: of the model, on the node's routes.
        proof: the path segment that only the node knows, as it was presented.
    """

    key: ModelKey
    target: str
    via: Origin = Origin.DIRECT
    slug: str = ""
    proof: bytes = attribute(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class HealthAsked:
    """`/models/.../health`, `/live/.../health`: we answer, from what we know. Attributes as `ToRunner`'s."""

    key: ModelKey
    via: Origin = Origin.DIRECT
    slug: str = ""
    proof: bytes = attribute(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class AskBody:
    """Only the body can name the model, among those of these pipelines."""

    pipelines: frozenset[str]


Route = ToRunner | HealthAsked | AskBody


def route(method: bytes, target: str, headers: Sequence[Header], models: Mapping[ModelKey, Model]) -> Route:
    """Find the model that a request asks for.

    Raises:
        JobRefused: UNKNOWN_MODEL, or BAD_REQUEST if it names two.
    """
    path = origin_form(target).partition("?")[0]
    if path.startswith("/models/"):
        return _base_url_route(origin_form(target), models)
    if spelling(method, path) is not None and path[1:].replace("/", "-") not in {k.pipeline for k in models}:
        return _stream_route(origin_form(target), _named(headers), models)
    if method != b"POST":
        hint = "(jobs are POST /PIPELINE, or anything under /models/PIPELINE/MODEL_ID/)"
        raise unknown_model(f"{method.decode('latin-1')} {path[:100]} {hint}", models, path[1:])
    pipelines = _pipelines(path[1:], models)
    named = _named(headers)
    offered = [key for key in models if key.pipeline in pipelines]
    if named:
        return batch_route(pipelines, named, target, models)
    if len(offered) == 1:
        return batch_route(pipelines, offered[0].model_id, target, models)
    if not offered:
        raise unknown_model(path[1:], models)
    return AskBody(pipelines)


def _named(headers: Sequence[Header]) -> str:
    named = {value for name, value in headers if LOWER[name] == b"x-model-id" and value}
    if len(named) > 1:
        raise JobRefused(Code.BAD_REQUEST, "cannot tell the model: X-Model-Id is given twice, with different values")
    return named.pop().strip(b" \t").decode("utf-8", "replace") if named else ""


def _stream_route(target: str, named: str, models: Mapping[ModelKey, Model]) -> ToRunner:
    """Route a realtime call that has no model in its path: to the one that is named, or that alone has streams."""
    found = [key for key, model in models.items() if has_streams(model.stream) and named in ("", key.model_id)]
    if named and not found:
        raise unknown_model(f"streams of {named!r}", models, named)
    if len(found) != 1:
        raise JobRefused(
            Code.MODEL_NOT_NAMED,
            f"cannot tell the model: {len(found)} have streams; name one in the header X-Model-Id, "
            "or call /models/PIPELINE/MODEL_ID/stream/...",
        )
    return ToRunner(found[0], target)


def batch_route(pipelines: frozenset[str], model_id: str, target: str, models: Mapping[ModelKey, Model]) -> ToRunner:
    """Route `POST /{pipeline}` to a model of `pipelines`, at its inference path; the query goes along.

    Raises:
        JobRefused: UNKNOWN_MODEL.
    """
    for pipeline in sorted(pipelines):
        if (key := ModelKey(pipeline, model_id)) in models:
            _, mark, query = origin_form(target).partition("?")
            return ToRunner(key, quote(models[key].inference.path, safe=PATH_SAFE) + mark + query)
    asked = origin_form(target).partition("?")[0][1:]
    raise unknown_model(f"model {model_id!r} of {asked}", models, f"{asked}/{model_id}")


def _base_url_route(target: str, models: Mapping[ModelKey, Model]) -> ToRunner | HealthAsked:
    path, mark, query = target.partition("?")
    pipeline, _, rest = path.removeprefix("/models/").partition("/")
    model_id, _, rest = rest.partition("/")
    key = ModelKey(_text(pipeline, percent=True), _text(model_id, percent=True))
    if key not in models:
        raise unknown_model(str(key), models)
    return HealthAsked(key) if rest == "health" else ToRunner(key, f"/{rest}{mark}{query}")


def _pipelines(name: str, models: Mapping[ModelKey, Model]) -> frozenset[str]:
    """Pipelines that a path names: exactly, or (if there is none) with `/` and `-` taken for the same."""
    asked = _text(name, percent=True)
    offered = {key.pipeline for key in models}
    if asked in offered:
        return frozenset({asked})
    return frozenset(pipeline for pipeline in offered if pipeline.replace("/", "-") == asked.replace("/", "-"))


def origin_form(target: str) -> str:
    """Path and query of a request target, which may be an absolute URL (RFC 9112, section 3.2.2)."""
    if target.startswith("/"):
        return target
    _, slashes, rest = target.partition("://")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    rest = rest[len(authority) :]
    return (rest if rest.startswith("/") else f"/{rest}") if slashes else f"/{target}"


def _text(value: str, *, percent: bool = False) -> str:
    """Decode what is UTF-8 on the wire; bytes that are not become U+FFFD, which matches no model. What is too long to
    name one is left as it is: to undo the escapes of a whole head would hold up others.
    """
    if len(value) > MOST_NAME_LETTERS:
        return value
    raw = value.encode("latin-1").decode("utf-8", "replace")
    return unquote(raw, errors="replace") if percent else raw


def unknown_model(asked: str, models: Iterable[ModelKey], name: str | None = None) -> JobRefused:
    """Return the 404 that names the model that was probably meant, and a few of those that there are.

    Args:
        name: of a model or pipeline, where `asked` says more than that.
    """
    known = tuple(models)
    near = nearest_model(asked if name is None else name, known)
    hint = f"did you mean {near}? " if near is not None else ""
    offered = f"{hint}offered here: {listed(known, NAMED_AT_MOST)}" if known else "no model is offered here"
    return JobRefused(Code.UNKNOWN_MODEL, f"cannot serve {asked[:200]}: {offered}")


def request_id(given: bytes | None) -> str | None:
    """Return the caller's `Livepeer-Request-Id` if it is sane: 1 to 64 visible ASCII characters."""
    return given.decode() if given is not None and REQUEST_ID.fullmatch(given) else None


def host_line(address: Address) -> bytes:
    """Return the part of a request's head that is the same for all jobs of a runner."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f" HTTP/1.1\r\nHost: {host}:{address.port}\r\n".encode("ascii")


def to_runner(
    head: RequestHead,
    target: bytes,
    host: bytes,
    *,
    token: str | None = None,
    via: Origin = Origin.DIRECT,
) -> bytes:
    """Return the head that the runner gets: the caller's headers in their order, duplicates kept, without secrets and
    without what belongs to the caller's connection.

    Args:
        target: path and query, with an external runner's base path.
        host: of `host_line`.
        token: bearer token of the entry, if it has one.
        via: Live Runner's session headers pass where they come from the node; `Accept-Encoding` does not over BYOC,
            where an event stream must stay readable for the node.
    """
    parts = [head.method, b" ", target, host]
    parts += [b"%b: %b\r\n" % field for field in passing(head.headers, head.hops, _FATES[via])]
    if token is not None:
        parts.append(b"Authorization: Bearer %b\r\n" % token.encode("ascii"))
    if head.length is not None:
        parts.append(b"Content-Length: %d\r\n" % head.length)
    elif head.chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    parts.append(UPGRADE if head.switches else KEEP_ALIVE)
    return b"".join(parts)


class Reply:
    """The head that callers with the same request get of one answer, but for request id and date.

    Attributes:
        answer: the runner's.
        keep_alive: the caller's connection goes on behind it.
        chunked: its body goes out in chunks.
        events: it is an event stream, whose end the node must see.
    """

    __slots__ = ("_dated", "_end", "_start", "answer", "chunked", "events", "keep_alive")

    def __init__(
        self,
        answer: AnswerHead,
        request: RequestHead,
        *,
        keep_alive: bool,
        events: bool = False,
        without: frozenset[bytes] = NO_NAMES,
        extra: bytes = b"",
    ) -> None:
        """Args:
        without: lower-case names that do not pass. extra: lines in their place.
        """
        self.answer = answer
        self.keep_alive = keep_alive
        self.events = events
        # Where it has no known length, or will get another end; 1.0 knows no chunks.
        self.chunked = request.modern and (events or answer.length is None)
        start = answer.memo if not without else _start_to_caller(answer, without)
        if start is None:
            start = answer.memo = _start_to_caller(answer, NO_NAMES)
        fields, self._dated = start
        end = _switch(answer) if answer.switches else persistence(request, keep_alive=keep_alive)
        if self.chunked:
            end = b"Transfer-Encoding: chunked\r\n" + end
        self._start = fields + b"Livepeer-Request-Id: "
        self._end = extra + end

    def head(self, request_id: str, date: bytes) -> bytes:
        """Return the runner's head without what belongs to its connection, and with the request id.

        Args:
            date: the line to add where the runner gave none.
        """
        return b"".join((self._start, request_id.encode(), b"\r\n", b"" if self._dated else date, self._end))


def _start_to_caller(head: AnswerHead, without: frozenset[bytes]) -> tuple[bytes, bool]:
    """Return what is the same for all callers, and whether a date is in it."""
    parts = [render.status_line(head.status, head.reason)]
    sized = dated = False
    for field in passing(head.headers, head.hops, TO_CALLER):
        name = LOWER[field[0]]
        if name in without:
            continue
        if name == b"content-length":
            if sized or head.chunked or head.status == 204:
                continue  # Once is enough; a transfer coding overrides it; a 204 has none (RFC 9110, section 8.6).
            sized = True
        elif name == b"date":
            dated = True
        parts.append(b"%b: %b\r\n" % field)
    return b"".join(parts), dated


def _switch(head: AnswerHead) -> bytes:
    protocol = next((value for name, value in head.headers if LOWER[name] == b"upgrade"), b"websocket")
    return b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol


_FATES: Mapping[Origin, Memo[bytes, bool]] = {
    Origin.DIRECT: TO_RUNNER,
    Origin.BYOC: Memo(lambda name: name.lower() != b"accept-encoding" and may_reach_runner(name)),
    Origin.LIVE_RUNNER: Memo(lambda name: name.lower() in SESSION_HEADERS or may_reach_runner(name)),
}
