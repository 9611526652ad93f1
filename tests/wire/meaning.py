"""What all that one side sends on a connection means, message by message, as `rfc9112` reads it."""

from __future__ import annotations

from dataclasses import dataclass

from tests.wire.rfc9112 import Incomplete, Malformed, Message, read_answer, read_request


@dataclass(frozen=True)
class Meaning:
    """What a whole stream of bytes says.

    Attributes:
        messages: those that are whole, in order. Of answers: one per request, see `interim`.
        interim: for each answer the interim ones before it; the last entry may have none of its own yet.
        fault: what ended the reading; None = the sender's will (a request that says close, or the end of the bytes).
        rest: what comes after the last message, or is not one.
    """

    messages: tuple[Message, ...]
    fault: Malformed | Incomplete | None = None
    interim: tuple[tuple[Message, ...], ...] = ()
    rest: bytes = b""


def read_requests(data: bytes) -> Meaning:
    """Read all that a caller sends on one connection; what it sends behind a last request means nothing."""
    found: list[Message] = []
    at = 0
    try:
        while at < len(data) and (not found or found[-1].persists):
            found.append(read_request(data, at))
            at = found[-1].end
    except (Malformed, Incomplete) as exc:
        return Meaning(tuple(found), exc, rest=data[at:])
    return Meaning(tuple(found), rest=data[at:])


def read_answers(data: bytes, methods: list[bytes], *, closed: bool) -> Meaning:
    """Read what a server sends in answer to requests of these methods; 101 ends it."""
    found: list[Message] = []
    interim: list[tuple[Message, ...]] = []
    at = 0
    try:
        for method in methods:
            before: list[Message] = []
            while True:
                if at == len(data) and not before:
                    return Meaning(tuple(found), None, tuple(interim))
                message = read_answer(data, at, method, closed=closed)
                at = message.end
                if message.status >= 200 or message.status == 101:
                    break
                before.append(message)
            found.append(message)
            interim.append(tuple(before))
            if message.status == 101:
                break
    except (Malformed, Incomplete) as exc:
        return Meaning(tuple(found), exc, tuple(interim), data[at:])
    return Meaning(tuple(found), None, tuple(interim), data[at:])
