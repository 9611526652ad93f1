"""The node's event channel of one runner: which sessions begin and end, as it happens.

A trickle channel (docs/protocol/trickle.md, 2 and 6) with one JSON message per segment. Messages may be lost;
heartbeats bring what was missed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog

from orchd.advertise.live_runner.wire import is_session_id
from orchd.domain.model import Secret
from orchd.node.ports import NodeCalls, NodeError, StreamedAnswer

log = structlog.get_logger("orchd.live_runner")

NEXT = -1
"""The first segment that has no byte yet."""
SILENCE_S = 30.0
"""Timeout in seconds for one segment: the node sends a sign of life every 10 s."""
SEGMENT_BYTES = 64 * 1024
MOST_DIGITS = 18
"""Most digits of a segment's number."""
RETRY_MIN_S = 1.0
RETRY_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """`begins`: the session was reserved; else it was released."""

    session: str
    begins: bool


def parse(segment: bytes) -> SessionEvent | None:
    """Return what a segment says; None = nothing about sessions, as a sign of life."""
    try:
        said = json.loads(segment)
    except (ValueError, RecursionError):
        return None
    session = said.get("session") if isinstance(said, dict) else None
    if not is_session_id(session) or said.get("event") not in ("reserved", "released"):
        return None
    return SessionEvent(session, begins=said["event"] == "reserved")


async def follow(client: NodeCalls, url: Secret) -> AsyncIterator[SessionEvent]:
    """Yield the channel's events from now on; ends when the channel does."""
    at, failures = NEXT, 0
    while True:
        try:
            async with asyncio.timeout(SILENCE_S), client.stream(Secret(f"{url.value}/{at}")) as answer:
                segment = await _read(answer)
        except (NodeError, TimeoutError):
            segment = None
        else:
            headers = answer.headers
            if answer.status == 404 or "Lp-Trickle-Closed" in headers:
                return
            if answer.status == 470 and (latest := _number(headers.get("Lp-Trickle-Latest"))) is not None:
                at, segment = latest, None  # What lies between is lost to us.
            elif answer.status == 200 and (seq := _number(headers.get("Lp-Trickle-Seq"))) is not None:
                at, failures = seq + 1, 0
            else:
                segment = None
        if segment is None:
            await asyncio.sleep(min(RETRY_MIN_S * 2 ** min(failures, 9), RETRY_MAX_S))
            failures += 1
        elif (event := parse(segment)) is not None:
            yield event


async def _read(answer: StreamedAnswer) -> bytes:
    """Return the body, as far as a message may reach."""
    body = bytearray()
    async for piece in answer.pieces:
        body += piece
        if len(body) > SEGMENT_BYTES:
            break
    return bytes(body)


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) <= MOST_DIGITS else None
