"""What systemd hears, on a notify socket of our own."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchd.notify import Notifier, watchdog_period_s
from orchd.tasks import cancel, spawn
from tests.virtual_time import settle, virtual_time


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[dict[str, str], socket.socket]]:
    """Yield an environment and the socket that it names."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@orchd-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(name.replace("@", "\0", 1))
        sock.setblocking(False)
        yield {"NOTIFY_SOCKET": name}, sock


def received(sock: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(sock.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_ready_status_and_stopping_arrive_in_order(heard: tuple[dict[str, str], socket.socket]) -> None:
    env, sock = heard
    notifier = Notifier(env)
    notifier.ready()
    notifier.status("3 models,\n2 ready")
    notifier.stopping()
    assert received(sock) == ["READY=1", "STATUS=3 models, 2 ready", "STOPPING=1"]


def test_without_systemd_nothing_happens() -> None:
    with capture_logs() as logs:
        Notifier({}).ready()
    assert logs == []


def test_a_socket_that_is_gone_is_logged_and_not_raised(tmp_path: Path) -> None:
    with capture_logs() as logs:
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    assert [(line["event"], line["message"]) for line in logs] == [("notify_failed", "READY")]


@pytest.mark.parametrize("heard", ["path"], indirect=True)
@virtual_time
async def test_the_watchdog_is_fed_once_a_period_as_long_as_the_loop_turns(
    heard: tuple[dict[str, str], socket.socket],
) -> None:
    env, sock = heard
    task = spawn(Notifier(env).watchdog(15.0), name="watchdog")
    await settle()
    assert received(sock) == ["WATCHDOG=1"]
    await asyncio.sleep(44.0)
    assert received(sock) == ["WATCHDOG=1", "WATCHDOG=1"]
    await cancel(task)
    await asyncio.sleep(60.0)
    assert received(sock) == []


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_the_period_is_half_of_what_systemd_allows_us(env: dict[str, str], expected: float | None) -> None:
    assert watchdog_period_s(env) == expected
