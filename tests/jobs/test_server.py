"""The job listener as a part: where it listens, and what it says when it can't."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.errors import Code, OrchdError
from orchd.hooks.calls import HookCalls
from orchd.jobs.ending import JobListeners
from orchd.jobs.needs import ModelFacts, SessionKeepers, Surroundings
from orchd.jobs.server import JobServer
from orchd.jobs.settings import JobsSettings
from orchd.limits import PER_CALLER, RESERVED
from orchd.relay.wire import Wire
from orchd.sessions.table import SessionTable
from tests.fakes.streams import a_keeper, a_letting_go
from tests.jobs.fakes import FakeLog, FakeMetrics

REQUEST = b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"


@pytest.fixture(autouse=True)
def _kernel_of_fakes() -> None:
    """The kernel itself."""


def server_on(
    *listen: str, env: Mapping[str, str] | None = None, open_files: int | None = None, **settings: Any
) -> JobServer:
    table = SessionTable(on_drained=lambda runner: None, on_wanted=lambda key: None)
    letting_go = a_letting_go(table)
    return JobServer(
        JobsSettings(listen=listen, **settings),
        ModelFacts(dict, lambda key: (True, ""), lambda key: True),
        SessionKeepers(table, letting_go, a_keeper(table, letting_go=letting_go)),
        HookCalls([], timeout_s=5),
        JobListeners(FakeMetrics(), FakeLog(), lambda runner: None),
        Surroundings(env or {}, open_files=open_files),
    )


async def start(server: JobServer) -> None:
    await server.start()
    await server.take_connections()


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(REQUEST)
    line = await reader.readline()
    writer.close()
    await writer.wait_closed()
    return line


async def test_no_more_callers_are_taken_than_the_limit_of_open_files_allows_and_both_numbers_are_told() -> None:
    with capture_logs() as logs:
        server = server_on("127.0.0.1:0", open_files=RESERVED + 2 * PER_CALLER, max_connections=8192)
    told = [each for each in logs if each["event"] == "connections_bounded"]
    assert [(each["most"], each["open_files_for_it"], each["max_connections"]) for each in told] == [(2, 268, 8192)]
    await start(server)
    first = await asyncio.open_connection("127.0.0.1", server.port)
    second = await asyncio.open_connection("127.0.0.1", server.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(REQUEST)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"2 are open, which is the limit (as 268 open files are allowed" in answer
    for each in (writer, first[1], second[1]):
        each.close()
        await each.wait_closed()
    await server.close()


async def test_with_descriptors_enough_the_setting_holds_and_nothing_is_told() -> None:
    with capture_logs() as logs:
        server = server_on("127.0.0.1:0", open_files=RESERVED + 8192 * PER_CALLER, max_connections=8192)
    assert logs == []
    await server.close()


async def test_it_listens_on_the_port_that_the_system_picks_and_lets_go_of_it() -> None:
    server = server_on("127.0.0.1:0")
    await start(server)
    port = server.port
    assert port > 0
    assert (await asked(*await asyncio.open_connection("127.0.0.1", port))).startswith(b"HTTP/1.1 404 ")
    await server.drain(1.0)
    await server.close()
    assert server.port == 0
    again = server_on(f"127.0.0.1:{port}")
    await start(again)
    await again.close()


async def test_it_listens_on_several_addresses_and_on_files(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sock"
    server = server_on("127.0.0.1:0", f"unix:{path}")
    await start(server)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert (await asked(*await asyncio.open_unix_connection(path))).startswith(b"HTTP/1.1 404 ")
    assert (await asked(*await asyncio.open_connection("127.0.0.1", server.port))).startswith(b"HTTP/1.1 404 ")
    second = server_on(f"unix:{path}")
    with pytest.raises(OrchdError, match="cannot listen on unix:") as caught:
        await second.start()
    assert caught.value.code is Code.ADDRESS_IN_USE
    await second.close()
    await server.close()
    assert not path.exists()


async def test_a_socket_on_which_nobody_listens_any_more_is_replaced_and_another_file_is_not(tmp_path: Path) -> None:
    import socket

    left = tmp_path / "left.sock"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(left))
    server = server_on(f"unix:{left}")
    await start(server)
    assert (await asked(*await asyncio.open_unix_connection(left))).startswith(b"HTTP/1.1 404 ")
    await server.close()
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    other = server_on(f"unix:{precious}")
    with pytest.raises(OrchdError):
        await other.start()
    assert precious.read_text() == "keep me"


async def test_an_address_in_use_is_said_in_plain_words_and_nothing_stays_open() -> None:
    first = server_on("127.0.0.1:0")
    await start(first)
    second = server_on("127.0.0.1:0", f"127.0.0.1:{first.port}")
    with pytest.raises(OrchdError, match=f"cannot listen on 127.0.0.1:{first.port} for jobs") as caught:
        await second.start()
    assert caught.value.code is Code.ADDRESS_IN_USE
    assert second.port == 0
    await second.close()
    await first.close()


@pytest.mark.parametrize("listen", ["192.0.2.1:8937", "systemd", "unix:/no/such/folder/jobs.sock"])
async def test_what_can_not_be_listened_on_is_a_wrong_setting(listen: str) -> None:
    server = server_on(listen, env={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    with pytest.raises(OrchdError, match="cannot listen on") as caught:
        await server.start()
    assert caught.value.code is Code.SETTING_INVALID
    await server.close()


async def test_it_counts_its_connections_and_closes_those_that_idle() -> None:
    server = server_on("127.0.0.1:0")
    await start(server)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(REQUEST)
    await reader.readline()
    assert server.connections() == {"caller": 1, "runner": 0}
    assert all(isinstance(connection, Wire) for connection in server.callers._connections)
    await server.close()
    assert (await reader.read()).endswith(b"}")
    writer.close()
    assert server.connections() == {"caller": 0, "runner": 0}
