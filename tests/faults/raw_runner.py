"""A runner over bare sockets: reads and answers exactly as many bytes as the case says, then closes, resets or stalls.

It says that it is well at `GET /health`. Any other request names its case (`?case=000017`), which is told what came.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any

from orchd.tasks import cancel, spawn
from tests.faults.case import Case
from tests.faults.message import END, Malformed, Message, parse
from tests.faults.rules import How, Where

PIECE = 1 << 20
CASE = re.compile(rb"\?case=(\d{6}) ")
RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, with no time: closing resets.
LOOK_S = 0.05
WELL = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{"status":"ok"}'


class HungUp(Exception):
    """The other side closed or reset the connection."""


class RawRunner:
    """Attributes:
    cases: by number; a request of any other is left without an answer.
    accepted: connections that brought a request, so far.
    open: those of them that have not ended, and who serves them.
    idle: those of the open ones that have served a request whole, and wait for the next.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.cases: dict[int, Case] = {}
        self.accepted = 0
        self.open: dict[socket.socket, asyncio.Task[Any]] = {}
        self.idle: set[socket.socket] = set()
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        self._spawn(self._accept())

    async def stop(self) -> None:
        await cancel(*self._tasks)
        self._listener.close()

    async def hang_up(self, *, reset: bool = False) -> None:
        """Close the connections that idle."""
        idle = [task for connection, task in self.open.items() if connection in self.idle]
        for connection in self.idle:
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        await cancel(*idle)

    async def say(self, unasked: bytes) -> None:
        """Send something on the connections that idle."""
        for connection in self.idle:
            await asyncio.get_running_loop().sock_sendall(connection, unasked)

    def _spawn(self, coro: Coroutine[Any, Any, None]) -> None:
        task = spawn(coro, name="raw runner")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _accept(self) -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(self._listener)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with connection:
            try:
                ahead = await _peek(connection)
                if ahead.startswith(b"GET /health"):
                    await loop.sock_recv(connection, PIECE)
                    return await loop.sock_sendall(connection, WELL)
                self.accepted += 1
                self.open[connection] = task
                turns = 0
                while (found := CASE.search(ahead)) is not None:
                    case = self.cases[int(found[1])]
                    try:
                        if await Turn(connection, case, turns).play():
                            break
                    finally:
                        case.served.set()
                    turns += 1
                    self.idle.add(connection)
                    ahead = await _peek(connection)
                    self.idle.discard(connection)
            except (HungUp, ConnectionError):
                pass
            finally:
                self.open.pop(connection, None)
                self.idle.discard(connection)


class Turn:
    """One request on a connection.

    Args:
        before: requests that the connection has served already.
    """

    def __init__(self, connection: socket.socket, case: Case, before: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._case = case
        self._read = bytearray()
        case.met += 1
        case.kept += before > 0

    async def play(self) -> bool:
        """Return whether the connection is to end."""
        case, sample = self._case, self._case.sample
        if (midway := case.at(Where.MIDWAY)) is not None and not sample.tunnel:
            sent = len(sample.asked(case.number, len(sample.ask) + midway).body)
            await self._hear(lambda message: message is not None and len(message.body) >= sent)
            return await self._act()
        hearing = case.at(Where.HEARING)
        whole = await self._hear(lambda message: message is not None and message.end is not None, hearing)
        if hearing is not None and not (sample.tunnel and whole and len(self._read) < hearing):
            return await self._act()
        self._check()
        await case.go_on.wait()
        answer = sample.answer(case.number)
        taking, answering = case.at(Where.TAKING), case.at(Where.ANSWERING)
        stop = answering if taking is None else taking
        if taking is not None and case.fault is not None and case.fault.how is How.STALL:
            stop = None  # It is to get more than it takes.
        head = len(sample.say)
        await self._loop.sock_sendall(self._connection, answer[:head] if stop is None else answer[: min(stop, head)])
        if sample.tunnel and (stop is None or stop > head):
            frame = sample.asked(case.number).body[:midway]
            await self._hear(lambda _: len(self._read) >= case.head_size + len(frame), hearing)
            if self._read[case.head_size :] != frame[: len(self._read) - case.head_size]:
                case.garbled = f"{self._read[case.head_size :]!r} in the tunnel"
            if hearing is not None or midway is not None:
                return await self._act()
            case.size = len(self._read)
        await self._loop.sock_sendall(self._connection, answer[head:stop])
        if answering is not None:
            return await self._act()
        if taking is not None:
            case.at_fault.set()
        if taking is not None or sample.tunnel:
            await self._until_hung_up()
        return sample.until_close or sample.tunnel

    async def _hear(self, enough: Callable[[Message | None], bool], limit: int | None = None) -> bool:
        """Read until it is enough (True), or `limit` bytes have been read on the whole (False)."""
        while True:
            try:
                if enough(parse(bytes(self._read))):
                    return True
            except Malformed as exc:
                self._case.garbled = str(exc)
                raise HungUp from exc
            size = PIECE if limit is None else limit - len(self._read)
            if not size:
                return False
            if not (data := await self._loop.sock_recv(self._connection, size)):
                raise HungUp
            self._read += data

    def _check(self) -> None:
        case = self._case
        case.whole += 1
        case.size, case.head_size = len(self._read), self._read.index(END) + len(END)
        heard, meant = parse(bytes(self._read)), case.sample.asked(case.number)
        assert heard is not None
        if (heard.body, heard.trailers) != (b"" if case.sample.tunnel else meant.body, meant.trailers):
            case.garbled = f"{heard.body[:60]!r}, {heard.trailers}"

    async def _act(self) -> bool:
        """Do what the fault is."""
        fault = self._case.fault
        assert fault is not None
        if fault.how is How.STALL:
            self._case.at_fault.set()
            await self._case.over.wait()
            while await self._loop.sock_recv(self._connection, PIECE):
                pass  # What orchd could send before it gave up; its leaving shows behind that.
        elif fault.how is How.RESET:
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self._connection.close()
        self._case.at_fault.set()
        return True

    async def _until_hung_up(self) -> None:
        while data := await self._loop.sock_recv(self._connection, PIECE):
            if not self._case.sample.tunnel:
                self._case.garbled = f"{data[:60]!r} behind the request"


async def _peek(connection: socket.socket) -> bytes:
    """Return what has come, once that tells what it is, and leave it unread; empty at the end."""
    loop = asyncio.get_running_loop()
    while True:
        ready = asyncio.Event()
        loop.add_reader(connection, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(connection)
        ahead = connection.recv(PIECE, socket.MSG_PEEK)
        if not ahead or CASE.search(ahead) or ahead.startswith(b"GET /health"):
            return ahead
        await asyncio.sleep(LOOK_S)  # The rest of the line is under way; what has come would wake us for ever.
