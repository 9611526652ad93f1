"""Which model a direct caller's request is for. Pure.

Headers are pairs of bytes, as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote, unquote

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.nearest import listed, nearest_model
from orchd.doors.routes import PATH_SAFE, AskBody, HealthAsked, Route, ToRunner, origin_form
from orchd.errors import Code, JobRefused
from orchd.http1.names import LOWER, Header
from orchd.realtime.routes import has_streams, spelling

MAX_NAMED = 5
MAX_NAME_LENGTH = 4096
"""Longest pipeline or model id in a path that is decoded, with its percent-escapes."""


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


def _text(value: str, *, percent: bool = False) -> str:
    """Decode what is UTF-8 on the wire; bytes that are not become U+FFFD, which matches no model. What is too long to
    name one is left as it is: to undo the escapes of a whole head would hold up others.
    """
    if len(value) > MAX_NAME_LENGTH:
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
    offered = f"{hint}offered here: {listed(known, MAX_NAMED)}" if known else "no model is offered here"
    return JobRefused(Code.UNKNOWN_MODEL, f"cannot serve {asked[:200]}: {offered}")
