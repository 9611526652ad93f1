"""HTTP/1.1 by hand over a plain socket: sends exactly what the test says, and reads by RFC 9112 alone.

Knows nothing of orchd. Every wait has a generous bound, so that a test fails and does not hang.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BOUND_S = 90.0
PIECE = 65536
UNREAD_S = 0.5
"""Who has not read for so long does not read."""


class Closed(Exception):
    """The peer closed or reset the connection before what the test waited for."""


@dataclass
class Reply:
    """Attributes:
    body: without its framing; empty if only the head was read.
    """

    version: str
    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    interim: list[int] = field(default_factory=list)

    def all(self, name: str) -> list[str]:
        return [value for given, value in self.headers if given.lower() == name.lower()]

    def one(self, name: str) -> str | None:
        values = self.all(name)
        assert len(values) <= 1, f"{name} is given {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


class Wire:
    """One connection."""

    def __init__(self, port: int, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(BOUND_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect(("127.0.0.1", port))
        except OSError:
            self.socket.close()
            raise
        self.ahead = b""

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        if data:  # Nothing to send can't fail, even if the peer has reset the connection meanwhile.
            self.socket.sendall(data)

    def unread(self) -> int:
        """Return how many bytes the other end's kernel holds for a process that has not read them."""
        address = "0100007F:{:04X}"
        ends = [address.format(end[1]) for end in (self.socket.getpeername(), self.socket.getsockname())]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, *found, _, queues = line.split()[:5]
            if found == ends:
                return int(queues.partition(":")[2], 16)
        return 0

    def has_come(self) -> bool:
        """Whether there is something to read, or the end."""
        return bool(self.ahead) or bool(select.select([self.socket], [], [], 0)[0])

    def send_until_unread(self, most: int) -> None:
        """Send pieces until the other end reads no more, at most so many bytes: what is sent next still fits in."""
        for _ in range(0, most, PIECE):
            self.send(b"x" * PIECE)
            end = time.monotonic() + UNREAD_S
            while self.unread() and time.monotonic() < end:
                time.sleep(0.001)
            if self.unread():
                return
        raise AssertionError(f"all of {most} bytes were read")

    def request(
        self,
        method: str,
        target: str,
        *headers: tuple[str, str],
        body: bytes | None = None,
        host: str = "orchd.test",
    ) -> None:
        self.head(
            method, target, *headers, *([("Content-Length", str(len(body)))] if body is not None else []), host=host
        )
        self.send(body or b"")

    def head(self, method: str, target: str, *headers: tuple[str, str], host: str = "orchd.test") -> None:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
        self.send("\r\n".join((*lines, "", "")).encode("latin-1"))

    def chunk(self, data: bytes) -> None:
        self.send(b"%x\r\n%b\r\n" % (len(data), data))

    def reset(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def some(self) -> bytes:
        """Return what is there, at least one byte; raises Closed at the end."""
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        try:
            data = self.socket.recv(PIECE)
        except ConnectionError as exc:
            raise Closed("reset") from exc
        if not data:
            raise Closed("closed")
        return data

    def exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            data += self.some()
        self.ahead = bytes(data[size:]) + self.ahead
        return bytes(data[:size])

    def until(self, mark: bytes) -> bytes:
        data = b""
        while mark not in data:
            data += self.some()
        before, _, self.ahead = data.partition(mark)
        return before

    def ended(self) -> bool:
        """Wait until the peer has closed; False if it sends something instead."""
        try:
            self.ahead = self.some()
        except Closed:
            return True
        return False

    def reply_head(self) -> Reply:
        """Read the head of one message; 1xx ones are replies too."""
        first, *lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        version, status = first.split(" ")[:2]
        headers = [(name, value.strip(" \t")) for name, _, value in (line.partition(":") for line in lines)]
        return Reply(version, int(status), headers)

    def reply(self, method: str = "POST") -> Reply:
        """Read one whole reply by its framing; interim ones are noted in it."""
        interim: list[int] = []
        while (reply := self.reply_head()).status < 200:
            interim.append(reply.status)
        reply.interim = interim
        reply.body = b"".join(self.body(reply, method))
        return reply

    def body(self, reply: Reply, method: str = "POST") -> Iterator[bytes]:
        """Pieces of the body as they come; raises Closed where it ends short of its framing."""
        if method == "HEAD" or reply.status in (204, 304):
            return
        length, coding = reply.one("Content-Length"), reply.one("Transfer-Encoding")
        assert not (length and coding), "RFC 9112, 6.1: a sender must not send both"
        if coding is not None:
            assert coding.lower() == "chunked"
            while size := int(self.until(b"\r\n").split(b";")[0], 16):
                yield from self.sized(size)
                assert self.exactly(2) == b"\r\n"
            while self.until(b"\r\n"):
                pass
        elif length is not None:
            yield from self.sized(int(length))
        else:
            try:
                while True:
                    yield self.some()
            except Closed as exc:
                if str(exc) == "reset":
                    raise

    def sized(self, size: int) -> Iterator[bytes]:
        while size:
            data = self.some()
            data, self.ahead = data[:size], data[size:] + self.ahead
            size -= len(data)
            yield data

    # WebSocket, RFC 6455: just enough to speak it.

    def upgrade(self, target: str, *headers: tuple[str, str]) -> Reply:
        key = base64.b64encode(os.urandom(16)).decode()
        asked = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")]
        self.head("GET", target, *asked, ("Sec-WebSocket-Key", key), *headers)
        reply = self.reply_head()
        if reply.status == 101:
            accept = hashlib.sha1(key.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
            assert reply.one("Sec-WebSocket-Accept") == base64.b64encode(accept).decode()
        return reply

    def frame(self, opcode: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = bytes([0x80 | opcode, 0x80 | size])
        elif size < 65536:
            head = bytes([0x80 | opcode, 0x80 | 126]) + struct.pack(">H", size)
        else:
            head = bytes([0x80 | opcode, 0x80 | 127]) + struct.pack(">Q", size)
        mask = os.urandom(4)
        stretched = (mask * (size // 4 + 1))[:size]
        masked = (int.from_bytes(data, "big") ^ int.from_bytes(stretched, "big")).to_bytes(size, "big")
        self.send(head + mask + masked)

    def message(self) -> tuple[int, bytes]:
        """Return opcode and data of the next frame."""
        first, second = self.exactly(2)
        assert not second & 0x80, "a server's frames are not masked"
        size = second & 127
        if size > 125:
            size = int.from_bytes(self.exactly(2 if size == 126 else 8), "big")
        return first & 15, self.exactly(size)
