"""The interface of a door, and what the doors have in common. Pure.

To add a door: write a folder beside this file with a subclass of `Door`, put it into `listed.DOORS`, and name those
who begin its streams in `Origin`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import Model
from orchd.domain.origins import Origin
from orchd.doors.location import for_caller
from orchd.doors.refusal import rendered
from orchd.doors.routes import AskBody, Beside, HealthAsked, Route, Served, ToRunner
from orchd.errors import Code, JobRefused
from orchd.hooks.job import NodeProof
from orchd.hooks.receipt import Receipt
from orchd.http1.names import Header, Memo
from orchd.http1.rules import NO_NAMES, AnswerHead, RequestHead
from orchd.realtime.routes import StreamCall
from orchd.relay.event_stream import EventsEnd
from orchd.relay.headers import TO_RUNNER
from orchd.relay.ports import EventStream

Readiness = tuple[bool, str]
"""Whether a session can begin, and if not, why."""


@dataclass(frozen=True, slots=True)
class AnswerShape:
    """How a runner's answer goes on to the caller.

    Attributes:
        events: it is an event stream whose end the caller must be told in words (`relay.event_stream`).
        without: lower-case names of headers that do not pass.
        extra: lines of the head in their place.
    """

    events: bool = False
    without: frozenset[bytes] = NO_NAMES
    extra: bytes = b""


NOT_TO_THE_NODE = frozenset({401, 402, 480, 482})
NEVER = float("inf")
AS_IT_IS = AnswerShape()
LOCATION = frozenset({b"location"})


@dataclass(frozen=True, slots=True)
class StreamNaming:
    """How a request says which realtime session it is about.

    Attributes:
        header: lower-case name of the header that does.
        shown: the same as people write it.
        word: what the caller calls such a session.
        in_body: the body may name it where the header does not. Only where callers choose their own bodies: at the
            node's doors a body is the gateway's, and must not name somebody else's stream.
        passing: lower-case names of the headers that the container gets with such a request.
    """

    header: bytes
    shown: str
    word: str
    in_body: bool
    passing: frozenset[bytes]


BY_STREAM_ID = StreamNaming(b"x-stream-id", "X-Stream-Id", "stream", True, frozenset({b"content-type"}))


class Door(ABC):
    """One way in. Holds no state: one object serves every listener that carries it.

    Attributes:
        name: in logs, in the store, in accounts. Stable.
        origin: of the streams that begin here.
        of_node: the node program beside us comes by this door, and what comes must prove that it is from the node.
        public: a listener carries it that everybody reaches, and no node stands before it.
        sells: what a client begins here is a session that orchd sells itself, a job by its own too.
        open_health: anybody may ask for health, and no hook is asked about that.
        naming: how requests name streams.
        passing: whether a header of the caller's reaches the runner, by its name.
        compares_paths: `refuses` reads the path in all the ways in which servers do, so it must not be long.
        at_root: paths that are this door's at the root, too, where a listener has a base path, which its clients leave
            out.
        silent_s: for how many seconds a client of it may be connected before it sends its request.
        passing_early: the same as `passing`, of a request whose caller may get a head before the runner has sent one;
            None = nobody gets such a head here.
    """

    name: ClassVar[str]
    origin: ClassVar[Origin]
    of_node: ClassVar[bool] = False
    public: ClassVar[bool] = False
    sells: ClassVar[bool] = False
    open_health: ClassVar[bool] = False
    naming: ClassVar[StreamNaming] = BY_STREAM_ID
    passing: ClassVar[Memo[bytes, bool]] = TO_RUNNER
    compares_paths: ClassVar[bool] = False
    at_root: ClassVar[frozenset[str]] = frozenset()
    silent_s: ClassVar[float] = 0.0
    passing_early: ClassVar[Memo[bytes, bool] | None] = None

    # Requests.

    @abstractmethod
    def takes(self, path: str) -> bool:
        """Return whether a request with this path comes by this door, whether or not its model is served."""

    @abstractmethod
    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        """Return what the request is for.

        Raises:
            JobRefused.
        """

    def by_body(self, asked: AskBody, named: str | None, target: str, served: Served) -> ToRunner:
        """Return where a request goes whose model the body was to name. Only of doors whose `route` gives `AskBody`.

        Args:
            named: the model id that the body names; None = it names none.

        Raises:
            JobRefused: UNKNOWN_MODEL, MODEL_NOT_NAMED.
        """
        raise NotImplementedError

    def proof(self, head: RequestHead, way: ToRunner | HealthAsked) -> NodeProof | None:
        """Return what the request shows to prove that the node has sent it; None = this door is not the node's."""
        return None

    def refuses(
        self, call: StreamCall | None, path: str, model: Model, head: RequestHead, bases: Sequence[str]
    ) -> tuple[Code, str] | None:
        """Return why this door serves this path to nobody; None = it serves it.

        Args:
            call: what the path asks of a stream, spelled as usual; None = it is a job.
            path: on the runner.
            bases: prefixes that the path may get before a server reads it.
        """
        return None

    def in_session(self, model: Model) -> bool:
        """Return whether every request to this model belongs to a session that outlives it."""
        return False

    # Answers.

    def first_byte_s(self, beside: Beside) -> float:
        """Return within how many seconds of the request's arrival an answer must have begun; infinite = at any time."""
        return NEVER

    def check_status(self, status: int, key: ModelKey) -> None:  # noqa: B027 - most doors pass every status on
        """Check that the caller may see this status of a runner's answer.

        Raises:
            JobRefused: BACKEND_UNUSABLE.
        """

    def shape(self, answer: AnswerHead, request: RequestHead, way: ToRunner, address: Address) -> AnswerShape:
        """Return how a runner's answer goes on.

        Args:
            address: of the runner.

        Raises:
            JobRefused: BACKEND_UNUSABLE.
        """
        status = answer.status
        if status == 200:
            return AS_IT_IS
        self.check_status(status, way.key)
        if not 200 < status < 400 or (leads := for_caller(answer, way.key, address, self.root(request, way))) is None:
            return AS_IT_IS
        return AnswerShape(without=LOCATION, extra=b"Location: %b\r\n" % leads)

    def forwarded(self, request: RequestHead, peer: str, scheme: str) -> bytes:
        """Return lines of the head that tell a runner whose request it is. Only doors of the public listener are asked.

        Args:
            peer: the caller's address; empty = not known.
            scheme: of the URL that was asked for.
        """
        return b""

    def lines(self, receipt: Receipt | None) -> bytes:
        """Return lines that the head of each answer gets. Only doors of the public listener are asked.

        Args:
            receipt: what the payer has left; None = the job costs nothing.
        """
        return b""

    def events(self, receipt: Receipt | None) -> EventStream:
        """Return what watches an event stream whose end the caller is told in words; `receipt`: as of `lines`."""
        return EventsEnd()

    def root(self, request: RequestHead, way: ToRunner) -> str:
        """Return what leads from the URL of this request to the root of its runner; ends with a slash."""
        return f"/models/{quote(way.key.pipeline, safe='')}/{quote(way.key.model_id, safe='')}/"

    def readiness(
        self, key: ModelKey, ours: Callable[[ModelKey], Readiness], for_node: Callable[[ModelKey], bool]
    ) -> Readiness:
        """Return what who asks for health here is told.

        Args:
            ours: whether a session can begin.
            for_node: whether the node is to use the model now.
        """
        return ours(key)

    def refusal(self, why: JobRefused, request_id: str, secrets: Iterable[str] = ()) -> tuple[int, list[Header], bytes]:
        """Return status, headers and body of an answer of our own.

        Args:
            secrets: taken out of what a hook has written.
        """
        return self.told_status(why), *rendered(why, request_id, secrets)

    def told_status(self, why: JobRefused) -> int:
        """Return the status with which this refusal goes out.

        A 401 makes go-livepeer drop the model for good, a 402 is a demand of the node's own to pay, and 480 and 482 are
        words of the clients' signers (docs/protocol/byoc.md, 5.6; docs/protocol/paid-live-runner.md, 11).
        """
        return 403 if self.of_node and why.status in NOT_TO_THE_NODE else why.status
