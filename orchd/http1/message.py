"""One request or answer, whose body grows while it comes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from orchd.http1.names import Header
from orchd.http1.rules import AnswerHead, RequestHead

Head = TypeVar("Head", RequestHead, AnswerHead)

_MOST_PIECES = 64


class Message(Generic[Head]):
    """One request or answer.

    Attributes:
        pieces: of the body, those that have not been taken yet.
        received: bytes of the body that came through the parser, taken or not.
        trailers: header fields after a chunked body.
        ended: the message is whole.
    """

    __slots__ = ("_taken", "ended", "head", "pieces", "received", "trailers")

    def __init__(self, head: Head, body: bytes = b"", *, ended: bool = False) -> None:
        self.head: Head = head
        self.pieces: list[bytes | bytearray] = [body] if body else []
        self.received = len(body)
        self._taken = 0
        self.trailers: Sequence[Header] = ()
        self.ended = ended

    @property
    def waiting(self) -> int:
        """Bytes of the body that have not been taken yet."""
        return self.received - self._taken

    def add(self, piece: bytes) -> None:
        """Append to the body. Small pieces are put together: each by itself takes far more memory than its bytes."""
        pieces = self.pieces
        self.received += len(piece)
        if len(pieces) < _MOST_PIECES:
            pieces.append(piece)
        elif isinstance(last := pieces[-1], bytearray):
            last += piece
        else:
            pieces.append(bytearray(piece))

    def take(self) -> bytes:
        """Return what has come of the body since the last call."""
        pieces = self.pieces
        self._taken = self.received
        if len(pieces) == 1:
            return pieces.pop()  # type: ignore[return-value] # Only after many others there is a bytearray.
        whole = b"".join(pieces)
        pieces.clear()
        return whole

    def put_back(self, data: bytes) -> None:
        """What was taken, all of it, was of no use."""
        self.pieces[:] = [data] if data else []
        self._taken = self.received - len(data)
