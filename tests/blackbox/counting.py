"""Runners that count the jobs inside themselves, whatever anybody else believes. Each one notices something else."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from enum import StrEnum

WELL = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\n{"status":"ok"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECE = b"5\r\nworks\r\n"
END = b"0\r\n\r\n"
WORK_S = 0.4
"""How long the work takes of those that don't notice that nobody waits for it."""
AT_ONCE = b"X-At-Once: yes"
"""A request with this gets the beginning of its answer before the work begins."""


class Notices(StrEnum):
    END_OF_FILE = "sees EOF"
    FAILED_WRITE = "sees only a failed write"
    NOTHING = "sees nothing"
    LATE = "ends late"


class CountingRunner:
    """Attributes:
    inside: jobs that it works on now.
    most: as many as there ever were at once.
    begun: all of them.
    """

    def __init__(self, notices: Notices) -> None:
        self.notices = notices
        self.inside = self.most = self.begun = 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept)
        self._serving: list[threading.Thread] = []
        self._accepting.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for thread in self._serving:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._serving.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                if not (data := connection.recv(65536)):
                    return
                request += data
            if request.startswith(b"GET /health"):
                connection.sendall(WELL)
                return
            with self._lock:
                self.inside += 1
                self.begun += 1
                self.most = max(self.most, self.inside)
            try:
                self._work(connection, at_once=AT_ONCE in request)
            finally:
                with self._lock:
                    self.inside -= 1

    def _work(self, connection: socket.socket, *, at_once: bool) -> None:
        if at_once:
            connection.sendall(HEAD + PIECE)
        match self.notices:
            case Notices.END_OF_FILE:
                while connection.recv(65536):
                    pass
            case Notices.FAILED_WRITE:
                for n in range(int(WORK_S / 0.01)):
                    time.sleep(0.01)
                    if at_once:
                        connection.sendall(PIECE)
                    elif n == 20:
                        connection.sendall(HEAD)
                connection.sendall(END)
            case Notices.NOTHING:
                time.sleep(WORK_S)
            case Notices.LATE:
                time.sleep(WORK_S / 2)
                with contextlib.suppress(OSError):
                    connection.sendall(PIECE if at_once else HEAD + PIECE)
                time.sleep(WORK_S / 2)
                with contextlib.suppress(OSError):
                    connection.sendall(END)
