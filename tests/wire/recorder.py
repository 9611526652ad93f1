"""A runner that says what it got: it reads by `rfc9112` alone, keeps its connections, and answers with scripted bytes.

The number of a case is in the target of each of its requests (`c000017`), so that what one of them smuggles shows up
under that number, whichever connection it comes on.
"""

from __future__ import annotations

import contextlib
import queue
import re
import socket
import threading
from collections import defaultdict
from dataclasses import dataclass, field

from tests.wire import rfc9112
from tests.wire.rfc9112 import Message

PIECE = 65536
TAG = re.compile(rb"[cms]([0-9]{6})(?![0-9])")
HEALTHY = b'{"status":"ok"}'
Parts = queue.SimpleQueue[int | None]


def plain_answer(request: Message) -> bytes:
    """Return an answer that says which request it is for."""
    body = b"answer to " + request.target
    head = b"HTTP/1.1 200 OK\r\nX-For: %b\r\nContent-Length: %d\r\n\r\n" % (request.target, len(body))
    return head if request.method == b"HEAD" else head + body


@dataclass
class Script:
    """How to answer the requests of one case that are its own (`c`), not its markers.

    Attributes:
        answer: None = a plain one.
        close: and end the connection.
        parts: sizes of the pieces to send, as they are put here; None = all that is left, from now on.
    """

    answer: bytes | None = None
    close: bool = False
    parts: Parts | None = None


@dataclass
class Seen:
    """What came under one number.

    Attributes:
        requests: whole ones, in order.
        pieces: what was there of requests when their connection ended.
    """

    requests: list[Message] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)


class Recorder:
    """Attributes:
    unreadable: (bytes, why) of what was not HTTP.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._seen: dict[int, Seen] = defaultdict(Seen)
        self._scripts: dict[int, Script] = {}
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.unreadable: list[tuple[bytes, str]] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def host(self) -> bytes:
        return b"127.0.0.1:%d" % self.port

    def script(self, number: int, script: Script) -> None:
        with self._lock:
            self._scripts[number] = script

    def seen(self, number: int) -> Seen:
        with self._lock:
            found = self._seen[number]
            return Seen(list(found.requests), list(found.pieces))

    def close(self) -> None:
        with self._lock:
            self._closing = True
            for script in self._scripts.values():
                if script.parts is not None:
                    script.parts.put(None)
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
                if self._closing:
                    connection.shutdown(socket.SHUT_RDWR)
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        data = b""
        try:
            with contextlib.suppress(OSError), connection:
                while piece := connection.recv(PIECE):
                    data += piece
                    while data:
                        try:
                            request = rfc9112.read_request(data, max_head=4 * rfc9112.MAX_HEAD_BYTES)
                        except rfc9112.Incomplete:
                            break
                        data = data[request.end :]
                        if not self._answer(connection, request):
                            return
        except rfc9112.Malformed as exc:
            with self._lock:
                self.unreadable.append((data, str(exc)))
        finally:
            if data:
                self._record(data, None)
            with self._lock:
                self._connections.discard(connection)

    def _answer(self, connection: socket.socket, request: Message) -> bool:
        """Whether the connection goes on."""
        if request.target == b"/health":
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(HEALTHY), HEALTHY))
            return request.persists
        tag = self._record(request.target, request)
        with self._lock:
            script = self._scripts.get(int(tag[1])) if tag is not None and tag[0].startswith(b"c") else None
        if script is None:
            script = Script()
        answer = plain_answer(request) if script.answer is None else script.answer
        at = 0
        while script.parts is not None and at < len(answer):
            size = script.parts.get()
            if size is None:
                script.parts.put(None)
                break
            connection.sendall(answer[at : at + size])
            at += size
        connection.sendall(answer[at:])
        return request.persists and not script.close

    def _record(self, where: bytes, request: Message | None) -> re.Match[bytes] | None:
        tag = TAG.search(where)
        with self._lock:
            if tag is None:
                self.unreadable.append((where, "a request that no case has sent"))
            elif request is None:
                self._seen[int(tag[1])].pieces.append(where)
            else:
                self._seen[int(tag[1])].requests.append(request)
        return tag
