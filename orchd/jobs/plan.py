"""What follows from a request's head alone. Pure; remembered with the head, which clients send again and again."""

from __future__ import annotations

from collections.abc import Mapping

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import Model
from orchd.jobs.request import Reply, Route, ToRunner
from orchd.realtime.routes import Call, call_of

MIB = 1024 * 1024


class Plan:
    """Holds while the models stay the same.

    Attributes:
        model, job: where the job goes; None = that is not known, or nobody's job.
        target: there.
        call: what is asked of a stream; None = it is a job.
        most: bytes of the body; 0 = no limit.
        requests: the head that a runner gets, by its address.
        reply: what the caller got last; None = nothing yet.
    """

    __slots__ = ("call", "job", "model", "models", "most", "reply", "requests", "target", "way")

    def __init__(self, models: Mapping[ModelKey, Model], way: Route, method: bytes) -> None:
        self.models = models
        self.way = way
        self.model: Model | None = None
        self.target = ""
        self.most = 0
        self.call: Call | None = None
        self.job: ToRunner | None = None
        if isinstance(way, ToRunner):
            self.job = way
            self.model = model = models[way.key]
            self.target = way.target
            self.most = model.inference.max_body_mb * MIB
            self.call = call_of(model, method, way.target.partition("?")[0])
        self.requests: dict[Address, bytes] = {}
        self.reply: Reply | None = None
