"""The routes that the go-livepeer node calls: `/byoc/SLUG[/PATH]` and `/live/SLUG/SEGMENT[/PATH]`. Pure.

A slug names the model, since the node decodes, re-escapes and cleans what stands in a path (byoc.md 5.3, live-runner.md
4.3). The node's own words come behind it: nothing or the pipeline's name is a batch job, `stream/...` is a realtime
call, all else goes to the container as it is. A model that is not served gets 503 and not 404: the gateway's last word
would be a 4xx (byoc.md 7).
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.errors import Code, JobRefused
from orchd.jobs.request import PATH_SAFE, HealthAsked, ToRunner, origin_form
from orchd.realtime.stream import Origin

BYOC, LIVE = "/byoc/", "/live/"


def door(target: str) -> Origin:
    """Return by which door a request with this target comes, whether or not its model is served."""
    path = origin_form(target).partition("?")[0]
    if path.startswith(BYOC):
        return Origin.BYOC
    if not path.startswith(LIVE):
        return Origin.DIRECT
    proof = path.removeprefix(LIVE).partition("/")[2].partition("/")[0]
    return Origin.LIVE_RUNNER if proof else Origin.DIRECT


def node_route(
    target: str, models: Mapping[ModelKey, Model], slugs: Mapping[str, ModelKey]
) -> ToRunner | HealthAsked | None:
    """Return where a request goes whose target is one of the node's; None = it is not.

    Raises:
        JobRefused: NOT_OFFERED.
    """
    path, mark, query = origin_form(target).partition("?")
    if path.startswith(BYOC):
        slug, _, rest = path.removeprefix(BYOC).partition("/")
        via, proof = Origin.BYOC, ""
    elif path.startswith(LIVE):
        slug, _, rest = path.removeprefix(LIVE).partition("/")
        proof, _, rest = rest.partition("/")
        via = Origin.LIVE_RUNNER
        if not proof:
            return None  # `/live/video-to-video` is a pipeline's name, as the documents spell it.
    else:
        return None
    key = slugs.get(slug)
    if key is None or key not in models:
        raise JobRefused(Code.NOT_OFFERED, f"cannot serve {slug[:60]}: no such model is offered here now")
    if via is Origin.LIVE_RUNNER and rest == "health":
        return HealthAsked(key, via, slug, proof.encode("latin-1"))
    inner = _inner(rest.strip("/"), models[key], rest)
    return ToRunner(key, inner + mark + query, via, slug, proof.encode("latin-1"))


def _inner(words: str, model: Model, rest: str) -> str:
    pipeline = model.key.pipeline
    if not words or words.replace("/", "-") == pipeline.replace("/", "-"):
        return quote(model.inference.path, safe=PATH_SAFE)
    return f"/{rest}"
