"""What readers cost that wait for a segment: memory of the server while they do, and CPU time when it comes.

The server is a daemon in a process of its own (`python -m tests.bench.readers`), without TLS; it does as it is told:
`now` = say how many wait, how large it is and what CPU time it has used; `publish` = write a segment.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import structlog

from orchd.channels.bounds import Bounds
from tests.bench.report import Row, Section
from tests.doors.channels.wire import wired

TITLE = "Readers of a channel that wait"
ABOUT = (
    "Each on a connection of its own. Memory: resident, of the server, kernel memory not counted. CPU: of the server."
)
HEAD = ("readers", "memory", "a reader", "CPU for one segment of 1 kB to all")
MANY = 100_000
SEGMENT = bytes(1000)


async def readers(counts: tuple[int, ...]) -> Section:
    """Measure with so many each."""
    rows = [await _figures(count) for count in counts]
    return Section(TITLE, ABOUT, HEAD, tuple(rows))


class Server:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def ask(self, order: str) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n".encode())
        return await self.answer()

    async def answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return said

    async def until_waiting(self, count: int) -> dict[str, Any]:
        while (now := await self.ask("now"))["waiting"] != count:  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.02)
        return now


async def _figures(count: int) -> Row:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", __name__, stdin=pipe, stdout=pipe)
    server = Server(process)
    try:
        port = (await server.answer())["port"]
        first = await _wait(port, 20)  # What the first ones need is not counted.
        before = await server.until_waiting(20)
        streams = await _wait(port, count)
        waiting = await server.until_waiting(20 + count)
        await server.ask("publish")
        after = await server.until_waiting(0)
        await asyncio.gather(*(reader.readuntil(b"0\r\n\r\n") for reader, _ in streams))
        for _, writer in (*first, *streams):
            writer.close()
    finally:
        assert process.stdin is not None
        process.stdin.close()  # It ends then, and takes its folder with it.
        await process.wait()
    memory_kb, cpu_s = waiting["rss_kb"] - before["rss_kb"], after["cpu_s"] - waiting["cpu_s"]
    return Row((f"{count}", f"{memory_kb / 1024:.1f} MiB", f"{memory_kb / count:.1f} KiB", f"{cpu_s * 1000:.0f} ms"))


async def _wait(port: int, count: int) -> list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    streams = []
    for _ in range(count):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /ai/trickle/a/-1 HTTP/1.1\r\nHost: x\r\n\r\n")
        streams.append((reader, writer))
    return streams


def _resident_kb() -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


async def serve() -> None:
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    bounds = Bounds(requests=MANY, session_requests=MANY)
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="orchd-bench-") as folder:
        wiring = wired(Path(folder), bounds, max_connections=MANY, max_connections_per_address=MANY)
        async with wiring as wire:
            print(json.dumps({"port": wire.daemon.port}), flush=True)
            while order := await loop.run_in_executor(None, sys.stdin.readline):
                if order.strip() == "publish":
                    wire.store.publish("a", SEGMENT)
                gc.collect()
                now = {"waiting": wire.store.channels.requests, "rss_kb": _resident_kb(), "cpu_s": time.process_time()}
                print(json.dumps(now), flush=True)


if __name__ == "__main__":
    asyncio.run(serve())
