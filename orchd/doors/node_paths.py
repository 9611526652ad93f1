"""What the node's doors have in common: which paths are theirs, and what follows a model's slug. Pure.

A slug names the model, since the node decodes, re-escapes and cleans what stands in a path (docs/protocol/byoc.md, 5.3;
docs/protocol/live-runner.md, 4.3). After it come the node's own words: nothing or the pipeline's name is a batch job,
`stream/...` is a call about a realtime session, everything else goes to the container as it is.
"""

from __future__ import annotations

from urllib.parse import quote

from orchd.domain.model import Model
from orchd.doors.paths import meant
from orchd.doors.routes import PATH_SAFE
from orchd.errors import Code
from orchd.realtime.routes import StreamCall

BYOC, LIVE = "/byoc/", "/live/"
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
