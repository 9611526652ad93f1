"""The job listener as a part: where it listens, and what it says when it can't."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from orchd.errors import Code, OrchdError
from orchd.jobs.hooks import AcceptAll, Hooks
from orchd.jobs.server import JobServer
from orchd.metrics import Metrics
from orchd.sessions.table import SessionTable
from orchd.settings import JobsSettings


def server_on(listen: str) -> JobServer:
    settings = JobsSettings(listen=listen)
    return JobServer(
        settings,
        SessionTable(on_idle=lambda runner: None, on_wanted=lambda key: None),
        dict,
        lambda key: (True, ""),
        Hooks([AcceptAll()], timeout_s=settings.hook_timeout_s),
        Metrics(CollectorRegistry(), "test"),
        lambda runner: None,
    )


async def test_it_listens_on_the_port_that_the_system_picks_and_lets_go_of_it() -> None:
    server = server_on("127.0.0.1:0")
    await server.start()
    port = server.port
    assert port > 0
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    assert (await reader.readline()).startswith(b"HTTP/1.1 404 ")
    writer.close()
    await server.drain(1.0)
    await server.close()
    again = server_on(f"127.0.0.1:{port}")
    await again.start()
    await again.close()


async def test_an_address_in_use_is_said_in_plain_words() -> None:
    first = server_on("127.0.0.1:0")
    await first.start()
    second = server_on(f"127.0.0.1:{first.port}")
    with pytest.raises(OrchdError, match=f"cannot listen on 127.0.0.1:{first.port} for jobs") as caught:
        await second.start()
    assert caught.value.code is Code.ADDRESS_IN_USE
    await second.close()
    await first.close()


async def test_an_address_of_another_machine_is_a_wrong_setting() -> None:
    server = server_on("192.0.2.1:8937")
    with pytest.raises(OrchdError) as caught:
        await server.start()
    assert caught.value.code is Code.SETTING_INVALID
    await server.close()
