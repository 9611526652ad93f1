"""Reading what a control request says: within 5 s of its header, 1 MiB at most. Source: livepeer-node.md 4, 5.1."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tests.doubles.livepeer_node.manners import MAX_BODY_BYTES
from tests.doubles.livepeer_node.registry import Refused
from tests.doubles.shared import go_json
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.go_json import GoJsonError

CONTROL_S = 5.0


async def read(request: web.Request, clock: Clock, refusal: str) -> bytes:
    """Return the body. Raises Refused."""
    pieces, size = [], 0
    try:
        async with clock.timeout(CONTROL_S):
            async for piece in request.content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > MAX_BODY_BYTES:
                    raise Refused(400, refusal)
    except TimeoutError:
        raise Refused(400, refusal, close=True) from None
    return b"".join(pieces)


async def read_object(request: web.Request, clock: Clock, refusal: str) -> dict[str, Any]:
    """Return the body's one JSON object. Raises Refused."""
    body = await read(request, clock, refusal)
    try:
        found = go_json.decode(body.decode("utf-8", "replace"))
    except GoJsonError:
        raise Refused(400, refusal) from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise Refused(400, refusal)
    return found


def text(found: dict[str, Any], name: str, refusal: str) -> str:
    """Return a string field; empty if it is not there. Raises Refused."""
    try:
        return go_json.string(go_json.field(found, name), f".{name}")
    except GoJsonError:
        raise Refused(400, refusal) from None
