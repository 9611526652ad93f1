"""The control of what holds the event loop: one that only connects, as often as probes do, beside the daemon.

`python -m tests.bench.empty_loop FILE URL PER_S SECONDS` notes in FILE what held its loop (`held.py`), over one GET of
URL after the other. It has no code of orchd's in it: what holds it longest is what this machine takes for a connection
at its worst, since the kernel does other work of the network's on the time of whoever asks it for something.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from tests.bench.held import note_holds


class _Get(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        transport.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

    def data_received(self, data: bytes) -> None:
        self._transport.abort()


async def connect(url: str, per_s: float, seconds: float) -> None:
    """Connect so often, for so long."""
    loop = asyncio.get_running_loop()
    host, _, port = url.removeprefix("http://").partition(":")
    until = loop.time() + seconds
    while loop.time() < until:
        await loop.create_connection(_Get, host, int(port))
        await asyncio.sleep(1 / per_s)


async def control(file: Path, url: str, per_s: float, seconds: float) -> None:
    """Run it as a process of its own."""
    numbers = (str(per_s), str(seconds))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.empty_loop", str(file), url, *numbers)
    )
    try:
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


if __name__ == "__main__":
    note_holds(Path(sys.argv[1]))
    asyncio.run(connect(sys.argv[2], float(sys.argv[3]), float(sys.argv[4])))
