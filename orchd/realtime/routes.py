"""Which calls are about a stream, and where a container takes them. Pure.

Source: docs/protocol/container.md, 5.1 and 5.3. Callers use go-livepeer's spelling (`/stream/start|stop|params`), that
of the documents (`/api/stream/start|stop|update|status`), or PyTrickle's alias for a start; each container has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchd.domain.model import Model, StreamSpec

AI_RUNNER_PORT = 8888
"""Where the inner process of an ai-runner live container answers status and updates.

Source: docs/protocol/container.md, 3.3.
"""
PREFIXES = ("", "/api")


class StreamCall(StrEnum):
    """What is asked of a stream. The value is go-livepeer's word for it."""

    START = "start"
    STOP = "stop"
    UPDATE = "params"
    STATUS = "status"


_SPELLINGS = {
    "/stream/start": StreamCall.START,
    "/stream/stop": StreamCall.STOP,
    "/stream/params": StreamCall.UPDATE,
    "/stream/update": StreamCall.UPDATE,
    "/stream/status": StreamCall.STATUS,
}
START_ALIASES = frozenset({"/live-video-to-video", "/live/video-to-video"})


@dataclass(frozen=True, slots=True)
class StreamRoute:
    """Where a container takes a call.

    Attributes:
        port: None = the container's own.
        prefix, update_path: what is learnt about the container if it takes a call here; None = nothing.
    """

    path: str
    port: int | None = None
    prefix: str | None = None
    update_path: str | None = None


@dataclass(frozen=True, slots=True)
class Learnt:
    """What has been seen of one container. None = not yet."""

    prefix: str | None = None
    update_path: str | None = None


def has_streams(stream: StreamSpec) -> bool:
    """Return whether the container carries realtime sessions at all."""
    return stream.post_starts_stream or stream.route_prefix is not None


def spelling(method: bytes, path: str) -> StreamCall | None:
    """Return what a path asks for in one of the two common spellings."""
    call = _SPELLINGS.get(path.removeprefix("/api"))
    fits = method == b"GET" if call is StreamCall.STATUS else method == b"POST"
    return call if fits else None


def call_of(model: Model, method: bytes, path: str) -> StreamCall | None:
    """Return what a request to a model asks of a stream; None = it is a job like others."""
    if not has_streams(model.stream):
        return None
    if (call := spelling(method, path)) is not None:
        return call
    starts = model.stream.post_starts_stream and method == b"POST"
    return StreamCall.START if starts and (path == model.inference.path or path in START_ALIASES) else None


def stream_routes(model: Model, call: StreamCall, learnt: Learnt) -> tuple[StreamRoute, ...]:
    """Return where to try a call, in order; the next one counts only if the container answers 404 or 405.

    Empty: the container has no such route, such as a stop of ai-runner's.
    """
    stream = model.stream
    if stream.route_prefix is None:
        return {
            StreamCall.START: (StreamRoute(model.inference.path),),
            StreamCall.STATUS: (StreamRoute("/api/status", AI_RUNNER_PORT),),
            StreamCall.UPDATE: (StreamRoute("/api/params", AI_RUNNER_PORT),),
            StreamCall.STOP: (),
        }[call]
    known = stream.route_prefix if stream.route_prefix != "auto" else learnt.prefix
    prefixes = PREFIXES if known is None else (known,)
    if call is not StreamCall.UPDATE:
        return tuple(StreamRoute(f"{prefix}/stream/{call}", prefix=prefix) for prefix in prefixes)
    path = stream.update_path if stream.update_path != "auto" else learnt.update_path
    paths = ("/stream/update", "/stream/params") if path is None else (path,)
    return tuple(StreamRoute(prefix + path, prefix=prefix, update_path=path) for prefix in prefixes for path in paths)
