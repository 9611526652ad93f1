"""The door of direct callers. Pure."""

from __future__ import annotations

from typing import ClassVar

from orchd.domain.origins import Origin
from orchd.doors.base import Door
from orchd.doors.node_paths import is_byoc, is_live
from orchd.doors.plain.routing import batch_route, route
from orchd.doors.routes import READ_AHEAD_BYTES, AskBody, Route, Served, ToRunner
from orchd.errors import Code, JobRefused
from orchd.http1.rules import RequestHead


class PlainDoor(Door):
    """Takes every request that is not the node's."""

    name: ClassVar[str] = "direct"
    origin: ClassVar[Origin] = Origin.DIRECT
    open_health: ClassVar[bool] = True

    def takes(self, path: str) -> bool:
        """All but the node's paths: those hold a secret, and must not be quoted where the node has no door."""
        return not (is_byoc(path) or is_live(path))

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        """By path, `X-Model-Id` or body: see `routing.route`."""
        return route(head.method, target, head.headers, served.models)

    def by_body(self, asked: AskBody, named: str | None, target: str, served: Served) -> ToRunner:
        """The model of those pipelines that the body names."""
        if named is None:
            raise JobRefused(
                Code.MODEL_NOT_NAMED,
                f"cannot tell the model: {' and '.join(sorted(asked.pipelines))} has several; name one in the header "
                f"X-Model-Id, or as model_id in the first {READ_AHEAD_BYTES // 1024} KiB of a JSON or form body",
            )
        return batch_route(asked.pipelines, named, target, served.models)
