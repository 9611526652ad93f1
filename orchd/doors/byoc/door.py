"""The door by which go-livepeer's BYOC comes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import Model
from orchd.domain.origins import Origin
from orchd.doors.base import BY_STREAM_ID, AnswerShape, Door, StreamNaming
from orchd.doors.byoc.answers import check_status, shape
from orchd.doors.node_paths import BYOC, is_byoc, names_capability, oddly_spelled, on_runner, on_stream_route
from orchd.doors.routes import HealthAsked, Route, Served, ToRunner, by_slug, origin_form
from orchd.errors import Code
from orchd.hooks.job import NodeProof
from orchd.http1.names import Memo
from orchd.http1.rules import AnswerHead, RequestHead
from orchd.realtime.routes import StreamCall
from orchd.relay.headers import may_reach_runner

BEARER = b"Bearer "


class ByocDoor(Door):
    """The node shows a bearer token that it had from us when the model was registered."""

    name: ClassVar[str] = "byoc"
    origin: ClassVar[Origin] = Origin.BYOC
    of_node: ClassVar[bool] = True
    compares_paths: ClassVar[bool] = True
    naming: ClassVar[StreamNaming] = replace(BY_STREAM_ID, in_body=False)
    # Without Accept-Encoding: an event stream must stay readable for the node, which looks for its end.
    passing: ClassVar[Memo[bytes, bool]] = Memo(
        lambda name: name.lower() != b"accept-encoding" and may_reach_runner(name)
    )

    def takes(self, path: str) -> bool:
        """All below `/byoc/`."""
        return is_byoc(path)

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        """By slug."""
        path, mark, query = origin_form(target).partition("?")
        slug, _, rest = path.removeprefix(BYOC).partition("/")
        key = by_slug(slug, served)
        model = served.models[key]
        rest = "" if names_capability(rest, model.name_for_gateways(served.beside.capability)) else rest
        return ToRunner(key, on_runner(rest, model) + mark + query, slug)

    def proof(self, head: RequestHead, way: ToRunner | HealthAsked) -> NodeProof | None:
        """The bearer token."""
        presented = head.value(b"authorization") or b""
        return NodeProof(way.slug, token=presented[len(BEARER) :] if presented.startswith(BEARER) else b"")

    def refuses(
        self, call: StreamCall | None, path: str, model: Model, head: RequestHead, bases: Sequence[str]
    ) -> tuple[Code, str] | None:
        """The node names the stream in each call about one, and never in a job, whose path the gateway chooses.

        Source: docs/protocol/byoc.md, 5.3 and 6.2.
        """
        if head.value(self.naming.header):
            return oddly_spelled(call, path, model, head.method)
        if on_stream_route(call, path, model, head, bases):
            return (
                Code.STREAM_ROUTE,
                f"cannot send a job of {model.key} to a route of its streams: they are started, updated and stopped "
                "by the node's stream calls (/ai/stream/...)",
            )
        return None

    def check_status(self, status: int, key: ModelKey) -> None:
        """See `answers`."""
        check_status(status, key)

    def shape(self, answer: AnswerHead, request: RequestHead, way: ToRunner, address: Address) -> AnswerShape:
        """See `answers`."""
        return shape(answer, request, way.key)
