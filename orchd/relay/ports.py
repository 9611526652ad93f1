"""What the deciding code knows of the two edges of a job: its caller, and whatever carries it to its runner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Protocol

from orchd.domain.ids import Address, RunnerId
from orchd.errors import Code
from orchd.http1.message import Message
from orchd.http1.names import Header
from orchd.http1.rules import AnswerHead, RequestHead


class CallerGone(Exception):
    """The caller's connection is lost, or it has said that it sends no more before its answer was whole."""


class RunnerUnreachable(Exception):
    """No connection to the runner: refused, no such name, no route, TLS failed."""


class RunnerBroke(Exception):
    """The runner's connection was lost, or its answer is not HTTP.

    Attributes:
        unseen: it is certain that the runner has seen nothing of the request.
    """

    def __init__(self, how: str, *, unseen: bool = False) -> None:
        super().__init__(how)
        self.unseen = unseen


class TooMuch(Exception):
    """The body is longer than allowed."""


class LineTooLong(Exception):
    """A line of the event stream is longer than its reader can take."""


class Owner(Protocol):
    """The job that is served, as the relay sees it. Calls may end the job before they return: see design.md."""

    def deliver(self, what: object) -> None:
        """Give what is waited for: what came of the body, the answer's head, its end."""

    def fail(self, why: Exception) -> None:
        """CallerGone, RunnerBroke, TooMuch, LineTooLong, or JobRefused if the body's framing is broken."""

    def moved(self) -> None:
        """Bytes moved, either way."""

    def wait_for(self, late: Code) -> None:
        """From now on, the timeout with this code runs. For the one that runs already, nothing changes."""

    def expire(self) -> None:
        """The deadline has passed."""


class Caller(Protocol):
    """One connection and the request on it that is served now.

    Attributes:
        message: that request; its body grows while it comes.
        owner: whom it tells, until `done`; set it.
        deadline: the owner's `expire` is called when this time has passed (the handler's clock).
        listener: what the listener was given for its connections: the doors that it carries. Nothing to the relay.
        answered: the head of an answer has been sent.
    """

    message: Message[RequestHead]
    peer: str
    owner: Owner | None
    listener: Any
    deadline: float

    @property
    def answered(self) -> bool: ...

    def collect(self, most: int) -> None:
        """Have the owner be delivered None once the body has ended or `most` bytes of it are there, maybe at once."""

    def drop(self, most: int, seconds: float) -> None:
        """Read and drop this much of a body that is still under way when it has been answered, for at most that long,
        instead of what the settings say for all. Bytes that come without a length are dropped in any case.
        """

    def proceed(self) -> None:
        """Send `100 Continue` if the caller waits for it and has not had it."""

    def keeps_alive(self, answer: AnswerHead) -> bool:
        """Return whether the connection can go on after this answer."""

    def answer(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send an answer of our own."""

    def write(self, data: bytes) -> None:
        """Send a head of our own, before the runner has sent one; a transfer that starts with no head follows."""

    def finish(self, data: bytes) -> None:
        """End an answer that has begun in chunks, by these bytes of its body."""

    def break_off(self) -> None:
        """Reset the connection, so that an answer that has begun can't look complete."""

    def done(self) -> None:
        """The request is answered, refused or broken off: go on with what follows."""


class EventStream(Protocol):
    """Watches the bytes of an event stream go by whose end its reader must be told of; see `event_stream.EventsEnd`."""

    def passes(self, data: bytes) -> bytes | None:
        """Return what goes on of the stream after these bytes have come; None = a line of it is too long."""

    def ending(self, broke: str = "", word: str = "") -> bytes:
        """Return what is to follow the last bytes that went on.

        Args:
            broke: why it broke off; empty = it has ended.
            word: the same, for programs.
        """


class Abandoned(Protocol):
    """What is left at a runner of an exchange whose job was cut.

    Attributes:
        watched: its end can be seen.
    """

    watched: bool

    def watch(self, finished: Callable[[], None], lost: Callable[[], None]) -> None:
        """Set who is told, once: that the runner has ended its answer or closed, or that its end can't be seen."""

    def close(self) -> None:
        """Nobody watches any more."""


class Direction(Protocol):
    """One direction of a transfer.

    Attributes:
        moved: bytes of the body that were moved.
    """

    @property
    def moved(self) -> int: ...


class Transfer(Protocol):
    """One attempt at one job on one connection to a runner.

    Attributes:
        up, down: the request, and the answer.
        retained: the whole body that was sent, if it is small; None = it is not at hand any more.
    """

    retained: bytes | None

    @property
    def up(self) -> Direction: ...
    @property
    def down(self) -> Direction: ...

    def send(self, head: bytes) -> None:
        """Begin: the owner gets the answer's head delivered."""

    def start(self, head: bytes, *, chunked: bool, events: EventStream | None = None) -> None:
        """Begin the answer to the caller: the owner is delivered None when all of it has gone out.

        Args:
            head: empty = it has gone out early.
            events: watches the body, and gives what is to follow it.
        """

    def stop(self) -> None:
        """Leave both sides. Always safe."""

    def cut(self) -> Abandoned | None:
        """As `stop`, in the middle of a job: return what is left of it at the runner, None = nothing."""


class Connection(Protocol):
    """A connection to a runner.

    Attributes:
        reused: it has served a job before.
    """

    reused: bool


@dataclass(frozen=True, slots=True)
class OwnHead:
    """The head of an answer of our own.

    Attributes:
        headers: without those of the framing and of the connection.
        body: the whole of it; None = it follows in pieces.
        last: no request may follow on this connection: who still sends a body is to stop.
    """

    status: int
    headers: Sequence[Header]
    body: bytes | None
    last: bool = False


class OwnMark(Enum):
    """What a source gives where it has neither a head nor bytes."""

    WAIT = auto()
    """Nothing now: it calls `wake` when that has changed."""
    END = auto()
    """The body is complete."""
    CUT = auto()
    """The rest of the body is lost: the answer must not look complete."""


class OwnSource(ABC):
    """Gives an answer of our own, piece by piece. It never waits. The request's body is of no interest."""

    @abstractmethod
    def step(self, most: int) -> OwnHead | bytes | OwnMark:
        """Return what comes next: a head; then, if its body follows, pieces of at most so many bytes, until the end."""

    @abstractmethod
    def leave(self) -> None:
        """Nothing more is asked of it."""


class OwnSink(ABC):
    """Takes a request's body, piece by piece, and gives an answer of our own. It never waits."""

    @abstractmethod
    def early(self) -> OwnHead | None:
        """Return the answer if nothing of the body is waited for; None = go on."""

    @abstractmethod
    def take(self, piece: bytes) -> OwnHead | bool:
        """Take a piece; return whether it was taken, or the answer if the body can't go on.

        False: it has to be offered again, all of it, after the next `wake`; until then no more is read.
        """

    @abstractmethod
    def end(self) -> OwnHead:
        """Return the answer: the body is complete."""

    @abstractmethod
    def leave(self) -> None:
        """Nothing more is asked of it."""


OwnBegin = Callable[[Callable[[], None]], OwnHead | OwnSource | OwnSink]
"""Begins an answer of our own; gets `wake`, which may be called at any time and does nothing at once."""


class OwnTransfer(Protocol):
    """An answer of our own on its way to the caller.

    Attributes:
        status: of its head; 0 = it is not out yet.
    """

    status: int

    def start(self) -> None:
        """Begin: the owner is delivered None when all of it has gone out."""

    def stop(self) -> None:
        """Leave caller and source. Always safe."""


class Carrier(Protocol):
    """Connections to runners."""

    def take(self, runner: RunnerId) -> Connection | None:
        """Return one that idles; None = there is none."""

    async def connect(self, runner: RunnerId, address: Address) -> Connection:
        """Open a connection to a runner.

        Raises:
            RunnerUnreachable.
        """

    async def connect_elsewhere(self, address: Address, may_dial: Callable[[str, int], bool]) -> Connection:
        """Open a connection to what is no runner; it serves one exchange.

        Args:
            may_dial: whether an IP address and a port may be dialled.

        Raises:
            RunnerUnreachable: or none of its addresses may be.
        """

    def give_back(self, connection: Connection) -> None:
        """Keep a connection that came too late for its job."""

    def carry(self, owner: Owner, caller: Caller, connection: Connection, most: int) -> Transfer:
        """Bring the two together. `most`: bytes of the body; 0 = no limit."""

    def answer(self, owner: Owner, caller: Caller, begin: OwnBegin) -> OwnTransfer:
        """Answer a caller ourselves, piece by piece, without a runner."""
