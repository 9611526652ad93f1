"""A small HTTP/1.1 load client: kept connections, one request at a time on each, raw sockets.

It knows only answers with a Content-Length and reads no more of them than status and length: it must cost little
beside what it measures.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

LIMIT_S = 60.0
"""Longest time for one request; then the bench fails."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A request that is sent again and again to one place."""

    host: str
    port: int
    request: bytes

    @classmethod
    def post(cls, url: str, headers: Mapping[str, str], body: bytes) -> Target:
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        head = {"Host": parts.netloc, "Content-Length": str(len(body)), **headers}
        lines = [f"POST {parts.path or '/'} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
        return cls(parts.hostname, parts.port, "\r\n".join([*lines, "", ""]).encode() + body)


@dataclass(slots=True)
class Load:
    """What was measured. Attributes:
    latencies_s: of each request, from its first byte sent to its answer's last byte read.
    took_s: over all.
    """

    latencies_s: list[float] = field(default_factory=list)
    took_s: float = 0.0

    def add(self, other: Load) -> None:
        self.latencies_s += other.latencies_s
        self.took_s += other.took_s

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.took_s

    def percentile_us(self, percent: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] * 1e6


class _Caller(asyncio.Protocol):
    """One connection. `answered` is set when the answer to the request under way is complete."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._head = b""
        self._left = -1

    def data_received(self, data: bytes) -> None:
        if self._left < 0:
            self._head += data
            head, end, rest = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            length = _LENGTH.search(head)
            if not head.startswith(b"HTTP/1.1 200 ") or length is None:
                self._fail(f"an answer that is no 200 with a length: {self._head[:300]!r}")
                return
            self._left, self._head = int(length[1]) - len(rest), b""
        else:
            self._left -= len(data)
        if self._left == 0:
            self._left = -1
            self.answered.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(f"a connection lost: {exc or 'closed'}")

    def _fail(self, why: str) -> None:
        if not self.answered.done():
            self.answered.set_exception(ConnectionError(why))


async def load(target: Target, *, connections: int, seconds: float, requests: int = 10**9) -> Load:
    """Send the request on each connection until `seconds` are over or `requests` (of all of them) are answered."""
    loop = asyncio.get_running_loop()
    callers = [await loop.create_connection(_Caller, target.host, target.port) for _ in range(connections)]
    done = Load()
    began = time.perf_counter()

    async def repeat(transport: asyncio.Transport, caller: _Caller) -> None:
        while (sent := time.perf_counter()) - began < seconds and len(done.latencies_s) < requests:
            caller.answered = loop.create_future()
            transport.write(target.request)
            await caller.answered
            done.latencies_s.append(time.perf_counter() - sent)

    try:
        async with asyncio.timeout(seconds + LIMIT_S), asyncio.TaskGroup() as group:
            for transport, caller in callers:
                group.create_task(repeat(transport, caller))
        done.took_s = time.perf_counter() - began
    finally:
        for transport, _ in callers:
            transport.abort()
    return done


async def in_turns(first: Target, second: Target, turns: int, *, connections: int, seconds: float) -> tuple[Load, Load]:
    """Load both in turns of `seconds`, so that what else the machine does meets both alike."""
    both = Load(), Load()
    for _ in range(turns):
        for target, total in zip((first, second), both, strict=True):
            total.add(await load(target, connections=connections, seconds=seconds))
    return both
