"""The node's trickle server: go-livepeer's, with a limit on segments and without a sweep. Source: livepeer-node.md 4.

A reader that leaves keeps its place until its segment gets data or ends: see `LINGERS`.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from tests.doubles.shared.clock import Clock
from tests.doubles.shared.trickle_channel import NEXT, Channel, Segment
from tests.doubles.shared.trickle_server import SEQ, TrickleServer

MAX_SEGMENT_BYTES = 10_000_000

LINGERS = web.RequestKey("lingers", Segment)
"""The segment that a reader waited for when it left."""


class Trickle(TrickleServer):
    def __init__(self, clock: Clock) -> None:
        super().__init__(clock, max_segment=MAX_SEGMENT_BYTES, idle_sweep=False, no_such="invalid stream")

    async def _write(self, request: web.Request, channel: Channel, seq: int) -> web.Response:
        """What comes for a finished segment is read and dropped."""
        segment = channel.held(channel.head if seq == NEXT else seq)
        if segment is None or not segment.closed:
            return await super()._write(request, channel, seq)
        await request.read()
        channel.wrote_first(segment)
        return web.Response(headers={SEQ: str(segment.seq)})

    async def _read(self, request: web.Request, channel: Channel, seq: int) -> web.StreamResponse:
        try:
            return await super()._read(request, channel, seq)
        except asyncio.CancelledError:
            segment = channel.held(seq)
            if segment is not None and not segment.pieces and not segment.closed:
                request[LINGERS] = segment
            raise
