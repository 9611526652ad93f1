"""The log of a container, out of what the engine sends: frames of two streams, or a terminal's bytes as they are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

from orchd import tasks
from orchd.domain.runs import LogView
from orchd.errors import Code, EngineUnavailable, LogGone
from orchd.runtime.docker.client import Refused
from orchd.runtime.docker.engine import Engine

HEAD = 8
"""Bytes before each frame: the stream's number, three zeros, the length (Docker Engine API, ContainerAttach)."""
BUFFER = 131072
"""Bytes read ahead of who reads a log; then the engine waits."""
_NO_DRIVER = 501


class Demultiplexer:
    """Takes the frames' heads out of a log that comes in pieces cut anywhere."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def feed(self, piece: bytes) -> bytes:
        """Return what of the log itself is in this piece."""
        found = []
        at = 0
        while at < len(piece):
            if self._left:
                part = piece[at : at + self._left]
                found.append(part)
                self._left -= len(part)
                at += len(part)
                continue
            more = HEAD - len(self._head)
            self._head += piece[at : at + more]
            at += more
            if len(self._head) == HEAD:
                self._left, self._head = int.from_bytes(self._head[4:]), b""
        return b"".join(found)


class Pipe:
    """Bytes from one thread to the event loop, a bounded number of them at a time."""

    def __init__(self, most: int = BUFFER) -> None:
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._some = asyncio.Event()
        self._changed = threading.Condition()
        self._bytes = bytearray()
        self._closed = self._ended = False

    def put(self, piece: bytes) -> bool:
        """Add bytes, on the thread; waits while there are too many. Returns False once nobody reads any more."""
        with self._changed:
            while len(self._bytes) >= self._most and not self._closed:
                self._changed.wait()
            if self._closed:
                return False
            first = not self._bytes
            self._bytes += piece
        if first:
            self._loop.call_soon_threadsafe(self._some.set)
        return True

    def end(self) -> None:
        """Nothing more comes. On the loop."""
        self._ended = True
        self._some.set()

    async def get(self) -> bytes:
        """Return all that there is, once there is something; nothing = it has ended."""
        await asyncio.sleep(0)  # A log that comes quicker than it is taken must not hold the loop.
        while True:
            await self._some.wait()
            self._some.clear()
            with self._changed:
                found = bytes(self._bytes)
                self._bytes.clear()
                self._changed.notify_all()
            if found or self._ended:
                if self._ended:
                    self._some.set()
                return found

    def close(self) -> None:
        """Nobody reads any more. On the loop."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


async def read_log(engine: Engine, handle: str, view: LogView) -> AsyncGenerator[bytes, None]:
    """Yield a container's log; see `ports.Runtime.log`."""
    found = await engine.inspect(handle)
    if found is None:
        raise LogGone(f"cannot find the container {handle[:12]}: it was removed")
    demultiplexer = None if found["Config"]["Tty"] else Demultiplexer()
    pipe = Pipe()
    reading = tasks.spawn(_into(pipe, engine, handle, _params(view)), name=f"log of {handle[:12]}")
    try:
        while piece := await pipe.get():
            if text := demultiplexer.feed(piece) if demultiplexer else piece:
                yield text
        if (failure := await reading) is not None:
            raise _explained(found, failure)
    finally:
        pipe.close()
        await tasks.cancel(reading)


async def _into(pipe: Pipe, engine: Engine, handle: str, params: dict[str, str | int]) -> EngineUnavailable | None:
    """Read into the pipe, and return why that has ended early."""
    try:
        await engine.read_log(handle, params, pipe.put)
    except EngineUnavailable as failure:
        return failure
    finally:
        pipe.end()
    return None


def _params(view: LogView) -> dict[str, str | int]:
    params: dict[str, str | int] = {"stdout": 1, "stderr": 1, "follow": int(view.follow)}
    params["tail"] = "all" if view.tail is None else view.tail
    if view.since is not None:
        params["since"] = f"{view.since:.9f}"
    return params


def _explained(container: dict[str, Any], failure: EngineUnavailable) -> EngineUnavailable | LogGone:
    name = container["Name"].removeprefix("/")
    if not isinstance(failure, Refused):
        return failure
    if failure.status == 404:
        return LogGone(f"cannot find the container {name}: it was removed")
    if failure.status == _NO_DRIVER or "does not support reading" in failure.reason:
        driver = container["HostConfig"]["LogConfig"]["Type"]
        return EngineUnavailable(
            f"cannot show the log of the container {name}: Docker's log driver {driver!r}, which it was made with, "
            "can't be read; look where that driver writes to",
            code=Code.ENGINE_REFUSED,
        )
    return failure
