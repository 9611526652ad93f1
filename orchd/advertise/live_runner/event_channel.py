"""The node's event channel of one runner: which sessions begin and end, as it happens.

A trickle channel (docs/protocol/trickle.md, 2 and 6) with one JSON message per segment. Messages may be lost;
heartbeats bring what was missed. Anybody who knows the URL can silence the channel for good, and each reader that
leaves a silent one keeps one of the 256 streams that Livepeer Node serves at once. So a channel that falls silent is
left once and never read again (docs/protocol/livepeer-node.md, 4 and 5.4).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from orchd.advertise.live_runner.wire import is_session_id
from orchd.domain.model import Secret
from orchd.node.ports import NodeCalls, NodeError, StreamedAnswer

NEXT = -1
"""The first segment that has no byte yet."""
SILENCE_S = 25.0
"""Longest silence in seconds: the node sends a sign of life every 10 s."""
MOST_READERS = 64
"""Most channels that are read at once: each takes one of the node's 256 places for streams."""
SEGMENT_BYTES = 64 * 1024
MOST_DIGITS = 18
"""Most digits of a segment's number."""
RETRY_MIN_S = 1.0
RETRY_MAX_S = 10.0


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


class ChannelEnd(StrEnum):
    """Why a channel is not read any more."""

    GONE = "gone"
    """The node does not have it any more: it was restarted, or somebody has deleted the channel."""
    SILENT = "silent"


async def follow(client: NodeCalls, url: Secret, hear: Callable[[SessionEvent], None]) -> ChannelEnd:
    """Pass the channel's events on from now on; return when there will be no more."""
    clock = asyncio.get_running_loop().time
    at, failures, heard_at = NEXT, 0, clock()
    while True:
        try:
            async with asyncio.timeout_at(heard_at + SILENCE_S), client.stream(Secret(f"{url.value}/{at}")) as answer:
                segment = await _read(answer)
        except TimeoutError:
            return ChannelEnd.SILENT
        except NodeError:
            segment = None
        else:
            headers = answer.headers
            if answer.status == 404 or "Lp-Trickle-Closed" in headers:
                return ChannelEnd.GONE
            if answer.status == 470 and (latest := _number(headers.get("Lp-Trickle-Latest"))) is not None:
                at, segment = latest, None  # What lies between is lost to us.
            elif answer.status == 200 and (seq := _number(headers.get("Lp-Trickle-Seq"))) is not None:
                at, failures, heard_at = seq + 1, 0, clock()
            else:
                segment = None
        if segment is None:
            await asyncio.sleep(min(RETRY_MIN_S * 2 ** min(failures, 9), RETRY_MAX_S))
            failures += 1
        elif (event := parse(segment)) is not None:
            hear(event)


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
