"""The door by which Live Runner comes, of go-livepeer and of Livepeer Node. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from orchd.domain.ids import ModelKey
from orchd.domain.live_runner import CONTROL, ROUTE, SESSION_ID, TOKEN
from orchd.domain.model import Model
from orchd.domain.offer import NodeProgram
from orchd.domain.origins import Origin
from orchd.doors.base import NEVER, Door, Readiness, StreamNaming
from orchd.doors.escaping import escaped_once
from orchd.doors.live_runner.answers import check_status
from orchd.doors.node_paths import LIVE, TRIAL_SLUG, is_live, oddly_spelled, on_runner
from orchd.doors.routes import Beside, HealthAsked, Route, Served, ToRunner, TrialAsked, by_slug, origin_form
from orchd.errors import Code
from orchd.hooks.job import NodeProof
from orchd.http1.names import Memo
from orchd.http1.rules import RequestHead
from orchd.realtime.routes import StreamCall
from orchd.relay.headers import may_reach_runner, plain

SESSION_HEADERS = frozenset(name.lower().encode() for name in (ROUTE, SESSION_ID, TOKEN, CONTROL))

FIRST_BYTE_S = 55.0
"""How long Livepeer Node's clients wait for the first byte of an answer: 5 s less than the node does itself."""


class LiveRunnerDoor(Door):
    """The node shows a path segment that it had from us with the model's URL."""

    name: ClassVar[str] = "live-runner"
    origin: ClassVar[Origin] = Origin.LIVE_RUNNER
    of_node: ClassVar[bool] = True
    compares_paths: ClassVar[bool] = True
    naming: ClassVar[StreamNaming] = StreamNaming(
        b"livepeer-session-id", "Livepeer-Session-Id", "session", False, SESSION_HEADERS | {b"content-type"}
    )
    passing: ClassVar[Memo[bytes, bool]] = Memo(lambda name: name.lower() in SESSION_HEADERS or may_reach_runner(name))
    # A head that is out can't say any more how the body is encoded.
    passing_early: ClassVar[Memo[bytes, bool] | None] = Memo(
        lambda name: plain(name) != b"accept-encoding" and LiveRunnerDoor.passing[name]
    )

    def takes(self, path: str) -> bool:
        """All below `/live/SLUG/SEGMENT`."""
        return is_live(path)

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        """By slug; trials are ours, and `health` where the node asks for it."""
        path, mark, query = origin_form(target).partition("?")
        slug, _, rest = path.removeprefix(LIVE).partition("/")
        segment, _, rest = rest.partition("/")
        if slug == TRIAL_SLUG:
            return TrialAsked(segment.encode("latin-1"))
        key, proof = by_slug(slug, served), segment.encode("latin-1")
        if served.beside.program is NodeProgram.GO_LIVEPEER:
            rest = escaped_once(rest)
        if rest == "health" and served.beside.asks_health:
            return HealthAsked(key, slug, proof)
        return ToRunner(key, on_runner(rest, served.models[key]) + mark + query, slug, proof)

    def proof(self, head: RequestHead, way: ToRunner | HealthAsked) -> NodeProof | None:
        """The segment."""
        return NodeProof(way.slug, segment=way.proof)

    def refuses(
        self, call: StreamCall | None, path: str, model: Model, head: RequestHead, bases: Sequence[str]
    ) -> tuple[Code, str] | None:
        """A call about a stream that only some servers would take for one."""
        return oddly_spelled(call, path, model, head.method)

    def in_session(self, model: Model) -> bool:
        """The node opens sessions of persistent models, and sends every request within one."""
        return model.persistent

    def first_byte_s(self, beside: Beside) -> float:
        """Livepeer Node waits 60 s and answers 502 then; ours says more, and leaves the slot at once."""
        return FIRST_BYTE_S if beside.program is NodeProgram.LIVEPEER_NODE else NEVER

    def check_status(self, status: int, key: ModelKey) -> None:
        """See `answers`."""
        check_status(status, key)

    def root(self, request: RequestHead, way: ToRunner) -> str:
        """Relative, as what comes before it is the node's: below `/live/SLUG/SEGMENT/` the depth is the client's."""
        path = origin_form(request.target.decode("latin-1")).partition("?")[0]
        return "../" * (path.count("/") - 4) or "./"

    def readiness(
        self, key: ModelKey, ours: Callable[[ModelKey], Readiness], for_node: Callable[[ModelKey], bool]
    ) -> Readiness:
        """The node asks whether to use the model, and that is decided apart from single probes."""
        return for_node(key), "the node is not to use it now"
