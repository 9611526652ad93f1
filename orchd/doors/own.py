"""A request that a door answers itself, of what it knows: no model, no slot and no runner has to do with it. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from orchd.hooks.job import Job
from orchd.http1.names import Header
from orchd.relay.ports import OwnBegin


class OwnRequest(Protocol):
    """What a door answers.

    Attributes:
        job: the request, as the hooks have seen it: head, peer, and whatever they keep with it.
        body: the whole of it, if the route takes any.
        seconds: longest time of one answer.
    """

    @property
    def job(self) -> Job: ...
    @property
    def body(self) -> bytes: ...
    @property
    def seconds(self) -> float: ...

    def limit_payer(self, payer: str) -> None:
        """Count a request of this payer's, once it is known who asks.

        Raises:
            JobRefused: RATE_LIMITED: there were too many.
        """


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer of a door's own.

    Attributes:
        headers: as they go out; request id, length and date are added to them.
    """

    status: int
    body: bytes
    headers: Sequence[Header] = ((b"Content-Type", b"application/json"),)


class Dropped(NamedTuple):
    """How much of a body is read and dropped behind its answer, so that a client that sends first and reads then can
    see the answer. It holds nothing but its connection.

    Attributes:
        bytes: at most.
        seconds: at most.
    """

    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OwnAnswer:
    """The door answers itself. One object of each serves all requests, so it holds nothing of any.

    Attributes:
        name: of the route, in metrics: one of few.
        answer: returns the answer, or what to await for it; it raises JobRefused for what it does not answer. Called
            when the hooks' `arrive` has passed and the body is there; bounded in time by the listener.
        body_bytes: longest body that it takes; 0 = it reads none.
        drops: what may follow of a body that the answer does not wait for; None = what the listener drops of any.
        hooks: the hooks' `arrive` is asked; False = it is a container that asks, which is no caller of theirs.
    """

    name: str
    answer: Callable[[OwnRequest], Answered | Awaitable[Answered]]
    body_bytes: int = 0
    drops: Dropped | None = None
    hooks: bool = True


@dataclass(frozen=True, slots=True)
class OwnStream:
    """The door answers itself, in pieces, as long as it takes, or takes a body so. No hook is asked.

    Attributes:
        name: of the route, in metrics: one of few.
        begin: see `relay.ports.OwnBegin`; called when the head has come. A 404 counts against its caller's address.
    """

    name: str
    begin: OwnBegin
