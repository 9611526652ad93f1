"""How many requests the node takes at once. Source: livepeer-node.md 4."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from tests.doubles.livepeer_node.registry import Refused
from tests.doubles.livepeer_node.trickle import LINGERS
from tests.doubles.shared.trickle_channel import Segment

STREAM, CONTROL = "stream", "control"
MOST = {STREAM: 256, CONTROL: 64}
_STREAMS = ("/ai/trickle/", "/proxy/", "/run/")


def kind_of(path: str) -> str:
    """Return which of the two limits counts a request to this path."""
    streams = path.startswith(_STREAMS) or path.endswith("/app") or "/app/" in path
    return STREAM if streams else CONTROL


class Places:
    def __init__(self) -> None:
        self.taken = dict.fromkeys(MOST, 0)
        self.occupied = dict.fromkeys(MOST, 0)
        """By nobody: a test's way to make the node busy."""
        self._changed = asyncio.Event()

    @contextmanager
    def one(self, request: web.Request, kind: str) -> Iterator[None]:
        """Hold a place while the request is under way, longer if it leaves a trickle read behind. Raises Refused."""
        if self.taken[kind] + self.occupied[kind] >= MOST[kind]:
            raise Refused(503, "server busy")
        self.taken[kind] += 1
        try:
            yield
        finally:
            left = request.get(LINGERS)
            if left is None:
                self._free(kind)
            else:
                self._free_with(kind, left)

    async def empty(self) -> None:
        """Return once no request holds a place."""
        while any(self.taken.values()):
            self._changed.clear()
            await self._changed.wait()

    def _free(self, kind: str) -> None:
        self.taken[kind] -= 1
        self._changed.set()

    def _free_with(self, kind: str, segment: Segment) -> None:
        def changed() -> None:
            segment.watchers.discard(changed)
            self._free(kind)

        segment.watchers.add(changed)
