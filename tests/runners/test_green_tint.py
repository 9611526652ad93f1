"""The sample model that ships with orchd."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.demo import green_tint
from tests.ports import free_port
from tests.runners.local import BOUND_S

FRAME = bytes(640 * 480 * 3)


@pytest.fixture
async def child() -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The model as a child process, and its base URL."""
    port = free_port()
    environment = {**os.environ, "HOST": "127.0.0.1", "PORT": str(port), "PIPELINE": "tint"}
    program = str(Path(green_tint.__file__))
    child = await asyncio.create_subprocess_exec(
        sys.executable, program, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    async with asyncio.timeout(BOUND_S):
        assert await child.stdout.readline() == f"green_tint: listening on {port}\n".encode()
    yield f"http://127.0.0.1:{port}", child
    if child.returncode is None:
        child.kill()
    await child.communicate()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


@given(st.binary(min_size=3, max_size=300).map(lambda data: data[: len(data) // 3 * 3]))
def test_only_green_is_raised_and_never_beyond_255(frame: bytes) -> None:
    tinted = bytearray(frame)
    green_tint.tint(tinted)
    assert list(tinted[1::3]) == [min(255, value + 80) for value in frame[1::3]]
    assert bytes(tinted[0::3] + tinted[2::3]) == frame[0::3] + frame[2::3]


async def test_a_black_frame_gets_the_documented_green(
    child: tuple[str, asyncio.subprocess.Process], client: aiohttp.ClientSession
) -> None:
    url, _ = child
    async with client.get(f"{url}/health") as answer:
        assert await answer.read() == b'{"status":"ok"}'
    for path in ("/live/video-to-video", "/live-video-to-video", "/tint", "/tint?a=b"):
        async with client.post(url + path, data=FRAME) as answer:
            assert (answer.status, answer.content_type) == (200, "application/octet-stream")
            tinted = await answer.read()
        assert len(tinted) == 921_600
        assert sum(tinted) == sum(tinted[1::3]) == 24_576_000


async def test_a_chunked_frame_is_taken(
    child: tuple[str, asyncio.subprocess.Process], client: aiohttp.ClientSession
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield bytes(30)

    async with client.post(f"{child[0]}/tint", data=pieces()) as answer:
        assert await answer.read() == bytes([0, 80, 0]) * 100


@pytest.mark.parametrize(("path", "size", "code"), [("/tint", 0, 400), ("/tint", 4, 400), ("/other", 3, 404)])
async def test_what_it_cannot_tint_is_refused_in_json(
    child: tuple[str, asyncio.subprocess.Process], client: aiohttp.ClientSession, path: str, size: int, code: int
) -> None:
    async with client.post(child[0] + path, data=bytes(size)) as answer:
        assert answer.status == code
        assert (await answer.json())["error"].startswith("cannot ")


async def test_sigterm_ends_it_once_the_running_request_is_done(
    child: tuple[str, asyncio.subprocess.Process], client: aiohttp.ClientSession
) -> None:
    url, process = child

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(30):  # More than all buffers on the way can hold: when it is sent, the request runs.
            yield bytes(999_999)
        process.send_signal(signal.SIGTERM)
        yield bytes(3)

    async with client.post(f"{url}/tint", data=pieces()) as answer:
        assert len(await answer.read()) == 30 * 999_999 + 3
    assert await asyncio.wait_for(process.wait(), BOUND_S) == 0
