"""What follows from a request's head alone. Pure; remembered with the head, which clients send again and again."""

from __future__ import annotations

from collections.abc import Mapping

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import ExternalLaunch, Model
from orchd.errors import Code
from orchd.http1.rules import RequestHead
from orchd.jobs.paths import MOST_LETTERS, climbs, meant, stream_route
from orchd.jobs.request import STREAM_ID, AskBody, Reply, Route, ToRunner
from orchd.realtime.routes import Call, call_of, has_streams
from orchd.realtime.stream import Origin

MIB = 1024 * 1024


class Plan:
    """Holds while the models stay the same.

    Attributes:
        via: the door by which requests with this head come.
        known: how it names its model, if the head does that.
        model, job: where the job goes; None = that is not known, or nobody's job.
        target: there.
        call: what is asked of a stream; None = it is a job.
        refused: why its path can't be served, whoever asks; None = it can.
        most: bytes of the body; 0 = no limit.
        requests: the head that a runner gets, by its address.
        reply: what the caller got last; None = nothing yet.
    """

    __slots__ = (
        "call",
        "job",
        "known",
        "model",
        "models",
        "most",
        "refused",
        "reply",
        "requests",
        "target",
        "via",
        "way",
    )

    def __init__(self, models: Mapping[ModelKey, Model], way: Route, head: RequestHead) -> None:
        self.models = models
        self.way = way
        self.known = None if isinstance(way, AskBody) else way
        self.via = Origin.DIRECT if self.known is None else self.known.via
        self.model: Model | None = None
        self.target = ""
        self.most = 0
        self.call: Call | None = None
        self.refused: tuple[Code, str] | None = None
        self.job: ToRunner | None = None
        if isinstance(way, ToRunner):
            self.job = way
            self.model = model = models[way.key]
            self.target = way.target
            self.most = model.inference.max_body_mb * MIB
            self.call = call_of(model, head.method, way.target.partition("?")[0])
            self.refused = _refused(self.call, way, model, head)
        self.requests: dict[Address, bytes] = {}
        self.reply: Reply | None = None


def _refused(call: Call | None, way: ToRunner, model: Model, head: RequestHead) -> tuple[Code, str] | None:
    """Return why this path is served to nobody, or not to a job; None = it is served."""
    path = way.target.partition("?")[0]
    base = model.launch.address.base_path if isinstance(model.launch, ExternalLaunch) else ""
    guarded = bool(base) or model.token is not None
    if len(path) > MOST_LETTERS and (guarded or (way.via is not Origin.DIRECT and has_streams(model.stream))):
        return Code.BAD_REQUEST, f"cannot pass the path on to {model.key}: it is longer than {MOST_LETTERS} bytes"
    if guarded and climbs(path):
        what = "the base path of its url" if base else "the root of a server that gets its token"
        return Code.BAD_REQUEST, f"cannot pass the path on to {model.key}: its dot segments (..) leave {what}"
    if way.via is Origin.BYOC and not head.value(STREAM_ID):
        # The node names the stream in each call about one, and never in a job, whose path the gateway chooses.
        if call is not None or any(stream_route(model, head.method, f"{above}{path}") for above in {"", base}):
            return (
                Code.STREAM_ROUTE,
                f"cannot send a job of {model.key} to a route of its streams: they are started, updated and stopped "
                "by the node's stream calls (/ai/stream/...)",
            )
    elif way.via is not Origin.DIRECT and call is None and meant(model, head.method, path) is not None:
        return Code.BAD_REQUEST, f"cannot tell what is asked of a stream of {model.key}: spell its route plainly"
    return None
