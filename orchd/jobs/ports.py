"""The two edges of a job, as the deciding code sees them: the caller, and the runner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchd.domain.ids import Address
from orchd.jobs.request import Headers

PIECE_BYTES = 64 * 1024


class CallerGone(Exception):
    """The caller's connection is lost."""


class RunnerUnreachable(Exception):
    """No connection to the runner: refused, no such name, no route, TLS failed."""


class RunnerBroke(Exception):
    """The runner's connection was lost, or its answer is not HTTP."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Head of a runner's answer, with its headers as they came. `reason` may be empty."""

    status: int
    reason: str
    headers: Headers


class Caller(Protocol):
    """One request and its caller.

    Attributes:
        headers: as they came, in order.
        length: of the body, from `Content-Length`; None = it comes in chunks, or there is none.
        has_body: there is a body to read.
        upgrade: protocol that the request asks to switch to, lower case; empty = none.
        started: the head of an answer has been sent.
    """

    method: str
    target: str
    headers: Headers
    peer: str
    length: int | None
    has_body: bool
    upgrade: str
    started: bool

    async def read(self, limit: int = PIECE_BYTES) -> bytes:
        """Return the next piece of the body, empty at its end; after `start(101)`, of what the caller sends.

        Raises:
            CallerGone.
            JobRefused: BAD_REQUEST, the body is malformed.
        """

    async def proceed(self) -> None:
        """Send `100 Continue` if the caller waits for it and has not had it."""

    async def start(self, status: int, reason: str, headers: Headers) -> None:
        """Send the head of the answer. With `Content-Length` among the headers the body is sized.

        Raises:
            CallerGone.
        """

    async def write(self, piece: bytes) -> None:
        """Send a piece of the answer's body at once; wait while the caller is slower than we are.

        Raises:
            CallerGone.
        """

    async def finish(self) -> None:
        """End the answer's body.

        Raises:
            CallerGone.
        """

    def break_off(self) -> None:
        """Reset the connection, so that the answer can't look complete."""

    async def answer(self, status: int, headers: Headers, body: bytes) -> None:
        """Send an answer of our own. What is left of the request's body is dropped, within bounds.

        Raises:
            CallerGone.
        """


class Exchange(Protocol):
    """One request to a runner, over a connection of its own."""

    async def request(self, method: str, target: str, headers: Headers, *, has_body: bool, length: int | None) -> None:
        """Send the head. The address gives `Host` and what comes before `target`; `length` None = chunked, if any body.

        Raises:
            RunnerBroke.
        """

    async def write(self, piece: bytes) -> None:
        """Send a piece of the body (after an answer of 101: of the new protocol).

        Raises:
            RunnerBroke.
        """

    async def finish(self) -> None:
        """End the body; after 101, close our half of the connection.

        Raises:
            RunnerBroke.
        """

    async def answer(self) -> Answer:
        """Return the head of the final answer, or of 101.

        Raises:
            RunnerBroke.
        """

    async def read(self) -> bytes:
        """Return the next piece of the answer's body as it comes; empty at its end.

        Raises:
            RunnerBroke: also where the body ends short of its framing.
        """

    def close(self) -> None:
        """Drop the connection. Always safe, at any time."""


class RunnerClient(Protocol):
    async def connect(self, address: Address) -> Exchange:
        """Raises:
        RunnerUnreachable.
        """
