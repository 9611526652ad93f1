"""EDGE. One direction of an upgraded connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Pump:
    """Takes the place of aiohttp's HTTP parser, and passes on what it is fed."""

    def __init__(self, write: Callable[[bytes], object], ended: asyncio.Event) -> None:
        self._write = write
        self._ended = ended

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self._write(data)
        return False, b""

    def feed_eof(self) -> None:
        self._ended.set()

    def set_exception(self, *_: object) -> None:
        self._ended.set()
