"""What the node's doors have in common: which paths are theirs, and what follows a model's slug. Pure.

A slug names the model, since the node decodes, re-escapes and cleans what stands in a path (docs/protocol/byoc.md, 5.3;
docs/protocol/live-runner.md, 4.3). After it come the node's own words: nothing or the pipeline's name is a batch job,
`stream/...` is a call about a realtime session, everything else goes to the container as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

from orchd.domain.model import Model
from orchd.doors.paths import meant, stream_route
from orchd.doors.routes import PATH_SAFE
from orchd.errors import Code
from orchd.http1.rules import RequestHead
from orchd.realtime.routes import StreamCall

BYOC, LIVE = "/byoc/", "/live/"
MAX_NAME_LENGTH = 4096
"""Longest path that is compared with the name of a capability."""
TRIAL_SLUG = "orchd"
"""In the place of a model's slug, which never is so: the path is one of orchd's own trials."""


def trial_path(word: str) -> str:
    """Return the path of a trial."""
    return f"{LIVE}{TRIAL_SLUG}/{word}"


def is_byoc(path: str) -> bool:
    """Return whether a path is one of BYOC's."""
    return path.startswith(BYOC)


def is_live(path: str) -> bool:
    """Return whether a path is one of Live Runner's: `/live/SLUG/SEGMENT...`.

    `/live/video-to-video` is a pipeline's name, as the documents spell it.
    """
    return path.startswith(LIVE) and bool(path.removeprefix(LIVE).partition("/")[2].partition("/")[0])


def on_runner(rest: str, model: Model) -> str:
    """Return the path on the runner for what comes after the slug."""
    words = rest.strip("/")
    pipeline = model.key.pipeline
    if not words or words.replace("/", "-") == pipeline.replace("/", "-"):
        return quote(model.inference.path, safe=PATH_SAFE)
    return f"/{rest}"


def oddly_spelled(call: StreamCall | None, path: str, model: Model, method: bytes) -> tuple[Code, str] | None:
    """Return why a path is refused that is a call about a stream to some servers only; None = it is not one."""
    if call is None and meant(model, method, path) is not None:
        return Code.BAD_REQUEST, f"cannot tell what is asked of a stream of {model.key}: spell its route plainly"
    return None


def on_stream_route(call: StreamCall | None, path: str, model: Model, head: RequestHead, bases: Sequence[str]) -> bool:
    """Return whether a path leads to a route of the model's streams, however it is spelled.

    Args:
        call, bases: as of `Door.refuses`.
    """
    return call is not None or any(stream_route(model, head.method, f"{base}{path}") for base in bases)


def names_capability(rest: str, name: str) -> bool:
    """Return whether a path is just the name of the capability: the SDK's client posts to
    `/process/request/CAPABILITY`, and means no path by that.
    """
    if len(rest) > MAX_NAME_LENGTH:
        return False
    return unquote(rest.encode("latin-1").decode("utf-8", "replace"), errors="replace").strip("/") == name.strip("/")
