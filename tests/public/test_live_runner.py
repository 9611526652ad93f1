"""Live Runner's clients at a real listener, by TLS: what they see of a demand to pay, whatever they send with it."""

from __future__ import annotations

import asyncio
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import cannot_run
from tests.doors.public_live_runner.fakes import CHALLENGE, ONCE, Rig
from tests.public.rig import daemon
from tests.public.test_clients import said

BODY_MB = 50
ENTRIES: list[dict[str, Any]] = [
    {
        "pipeline": ONCE.pipeline,
        "model_id": ONCE.model_id,
        "url": "http://127.0.0.1:1",
        "inference": {"max_body_mb": BODY_MB},
    }
]
APP = f"/apps/{ONCE.slug}/app"
CLIENTS = {
    "requests": "import requests\n"
    "answer = requests.post(url, data=bytes(size), verify=trusted)\n"
    "print(answer.status_code, answer.text)",
    "requests in chunks": "import requests\n"
    "answer = requests.post(url, data=(bytes(2**20) for _ in range(size >> 20)), verify=trusted)\n"
    "print(answer.status_code, answer.text)",
    "httpx": "import httpx, ssl\n"
    "answer = httpx.post(url, content=bytes(size), verify=ssl.create_default_context(cafile=trusted), timeout=60)\n"
    "print(answer.status_code, answer.text)",
    "aiohttp": "import aiohttp, asyncio, ssl\n"
    "async def main():\n"
    "    async with aiohttp.ClientSession() as session:\n"
    "        tls = ssl.create_default_context(cafile=trusted)\n"
    "        async with session.post(url, data=bytes(size), ssl=tls) as answer:\n"
    "            print(answer.status, await answer.text())\n"
    "asyncio.run(main())",
}


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_that_sends_all_of_a_job_first_sees_that_it_is_to_be_paid_for(
    client: str, tmp_path: Path
) -> None:
    library = client.partition(" ")[0]
    if find_spec(library) is None:
        cannot_run(f"no {library}")
    async with daemon(tmp_path, lambda: Rig().door, ENTRIES) as public:
        given = {
            "url": f"https://localhost:{public.port}{APP}",
            "size": BODY_MB * 2**20,
            "trusted": str(public.own_certificate),
        }
        script = "".join(f"{name} = {value!r}\n" for name, value in given.items()) + CLIENTS[client]
        status, _, text = (await said(sys.executable, "-c", script)).partition(" ")
        assert status == "402", text
        assert json.loads(text) == CHALLENGE


async def test_who_waits_to_be_told_to_go_on_is_told_to_pay_instead(tmp_path: Path) -> None:
    async with daemon(tmp_path, lambda: Rig().door, ENTRIES) as public:
        reader, writer = await asyncio.open_connection("localhost", public.port, ssl=public.client_context())
        head = f"POST {APP} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
        writer.write(head.encode())
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 402 ")
        assert b"Connection: close" in answer
        assert json.loads(await reader.readuntil(b"\n")) == CHALLENGE
        writer.transport.abort()


async def test_bodies_of_which_nothing_comes_hold_up_nobody(tmp_path: Path) -> None:
    head = f"POST {APP} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {BODY_MB * 2**20}\r\n\r\n".encode()
    async with daemon(tmp_path, lambda: Rig().door, ENTRIES) as public:
        tls = public.client_context()
        silent = [await asyncio.open_connection("localhost", public.port, ssl=tls) for _ in range(20)]
        for _, writer in silent:
            writer.write(head)
        for reader, _ in silent:
            assert (await reader.readline()).startswith(b"HTTP/1.1 402 ")
        assert (await public.ask("/discovery"))[0] == 200
        for _, writer in silent:
            writer.transport.abort()
