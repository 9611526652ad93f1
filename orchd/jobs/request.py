"""Which model a request is for, and what of its headers goes on. Pure.

Headers are pairs of text in which each character is one byte (latin-1), so that every byte comes out as it went in.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import quote, unquote

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.errors import Code, JobRefused

Header = tuple[str, str]
Headers = tuple[Header, ...]

HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Each connection has its own: the edge writes the runner's host, and the framing that the body came with.
OURS = frozenset({"host", "expect", "content-length"})
FORM = "application/x-www-form-urlencoded"
PATH_SAFE = "/?%:@!$&'()*+,;="  # What a path of the operator's may hold as it is.
NAMED_AT_MOST = 20
REQUEST_ID = re.compile(r"[\x21-\x7e]{1,64}")


@dataclass(frozen=True, slots=True)
class ToRunner:
    """The job goes to this model's runner.

    Attributes:
        target: path and query on the runner, byte for byte; an external runner's base path comes before it.
    """

    key: ModelKey
    target: str


@dataclass(frozen=True, slots=True)
class HealthAsked:
    """`/models/.../health`: we answer, from what we know."""

    key: ModelKey


@dataclass(frozen=True, slots=True)
class AskBody:
    """Only the body can name the model, among those of these pipelines."""

    pipelines: frozenset[str]


Route = ToRunner | HealthAsked | AskBody


def route(method: str, target: str, headers: Headers, models: Mapping[ModelKey, Model]) -> Route:
    """Find the model that a request asks for.

    Raises:
        JobRefused: UNKNOWN_MODEL, or BAD_REQUEST if it names two.
    """
    path = _origin_form(target).partition("?")[0]
    if path.startswith("/models/"):
        return _base_url_route(_origin_form(target), models)
    if method != "POST":
        hint = "(jobs are POST /PIPELINE, or anything under /models/PIPELINE/MODEL_ID/)"
        raise unknown_model(f"{method} {path[:100]} {hint}", models)
    pipelines = _pipelines(path[1:], models)
    named = {value for name, value in headers if name.lower() == "x-model-id" and value}
    if len(named) > 1:
        raise JobRefused(Code.BAD_REQUEST, "cannot tell the model: X-Model-Id is given twice, with different values")
    offered = [key for key in models if key.pipeline in pipelines]
    if named:
        return batch_route(pipelines, _text(named.pop()), target, models)
    if len(offered) == 1:
        return batch_route(pipelines, offered[0].model_id, target, models)
    if not offered:
        raise unknown_model(path[1:], models)
    return AskBody(pipelines)


def batch_route(pipelines: frozenset[str], model_id: str, target: str, models: Mapping[ModelKey, Model]) -> ToRunner:
    """Route `POST /{pipeline}` to a model of `pipelines`, at its inference path; the query goes along.

    Raises:
        JobRefused: UNKNOWN_MODEL.
    """
    for pipeline in sorted(pipelines):
        if (key := ModelKey(pipeline, model_id)) in models:
            _, mark, query = _origin_form(target).partition("?")
            return ToRunner(key, quote(models[key].inference.path, safe=PATH_SAFE) + mark + query)
    raise unknown_model(f"model {model_id!r} of {_origin_form(target).partition('?')[0][1:]}", models)


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


def _origin_form(target: str) -> str:
    """Path and query of a request target, which may be an absolute URL (RFC 9112, section 3.2.2)."""
    if target.startswith("/"):
        return target
    _, slashes, rest = target.partition("://")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    rest = rest[len(authority) :]
    return (rest if rest.startswith("/") else f"/{rest}") if slashes else f"/{target}"


def _text(value: str, *, percent: bool = False) -> str:
    """Decode what is UTF-8 on the wire; bytes that are not become U+FFFD, which matches no model."""
    raw = value.encode("latin-1").decode("utf-8", "replace")
    return unquote(raw, errors="replace") if percent else raw


def unknown_model(asked: str, models: Iterable[ModelKey]) -> JobRefused:
    """Return the 404 that names what is offered, at most so much of it that the answer stays small."""
    known = sorted(str(key) for key in models)
    more = f" and {len(known) - NAMED_AT_MOST} more" if len(known) > NAMED_AT_MOST else ""
    offered = f"offered here: {', '.join(known[:NAMED_AT_MOST])}{more}" if known else "no model is offered here"
    return JobRefused(Code.UNKNOWN_MODEL, f"cannot serve {asked[:200]}: {offered}")


def request_id(headers: Headers) -> str:
    """Return the caller's `Livepeer-Request-Id` if it is sane (1 to 64 visible ASCII characters), else a new one."""
    given = next((value for name, value in headers if name.lower() == "livepeer-request-id"), "")
    return given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex


def to_runner(
    headers: Headers, *, token: str | None = None, upgrade: str = "", allow: frozenset[str] = frozenset()
) -> Headers:
    """Return the headers that the runner gets, in the caller's order, duplicates kept.

    Without those of the connection: the edge adds `Host` and the framing.

    Args:
        upgrade: protocol that the caller asks to switch to; empty = none.
        allow: lower-case names that pass although they are secret.
    """
    gone = HOP_BY_HOP | OURS | _named_by_connection(headers)
    passed = [(name, value) for name, value in headers if name.lower() not in gone and not _secret(name, allow)]
    added = [("Connection", "Upgrade"), ("Upgrade", upgrade)] if upgrade else []
    bearer = [("Authorization", f"Bearer {token}")] if token is not None else []
    return (*passed, *bearer, *added)


def to_caller(headers: Headers, *, request_id: str, upgrade: bool = False) -> Headers:
    """Return the headers that the caller gets: the runner's without those of its connection, and the request id.

    `Content-Length` stays: it tells a sized answer from a chunked one.
    """
    gone = (HOP_BY_HOP | _named_by_connection(headers) | {"livepeer-request-id"}) - {"content-length"}
    if any(name.lower() == "transfer-encoding" for name, _ in headers):
        gone |= {"content-length"}  # RFC 9112, section 6.3: the transfer coding overrides the length.
    if upgrade:
        gone -= {"connection", "upgrade"}
    passed = [(name, value) for name, value in headers if name.lower() not in gone]
    return (*passed, ("Livepeer-Request-Id", request_id))


def _named_by_connection(headers: Headers) -> frozenset[str]:
    values = [value for name, value in headers if name.lower() == "connection"]
    return frozenset(token.strip(" \t").lower() for value in values for token in value.split(","))


def _secret(name: str, allow: frozenset[str]) -> bool:
    """Credentials and payment, which are ours and not the runner's.

    An underscore counts as a hyphen here, as it does in servers that make variables of header names.
    """
    plain = name.lower().replace("_", "-")
    return plain not in allow and (plain in {"authorization", "livepeer"} or plain.startswith("livepeer-"))
