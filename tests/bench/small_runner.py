"""A runner that costs next to nothing: `python -m tests.bench.small_runner`, which prints its port.

It answers each request at once: a GET with `{"status": "ok"}`, anything else with `{}`; bodies are not looked at, so a
request must arrive in one piece.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from orchd.loops import fast_loop

HEALTHY = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n%s\r\n{"status":"ok"}'
DONE = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n%s\r\n{}"


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport  # uvloop's are no asyncio.Transport

    def data_received(self, data: bytes) -> None:
        closes = b"connection: close" in data.lower()
        answer = HEALTHY if data.startswith(b"GET ") else DONE
        self._transport.write(answer % (b"Connection: close\r\n" if closes else b""))
        if closes:
            self._transport.close()


async def main() -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    print(listening.getsockname()[1], flush=True)
    server = await asyncio.get_running_loop().create_server(_Connection, sock=listening)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=fast_loop()) as runner:
        runner.run(main())
