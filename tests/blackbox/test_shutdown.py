"""A server that is told to end: no new job, the running ones to their end, or cut at the deadline."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.blackbox.conftest import Runner, Server, start_server, stop, until
from tests.blackbox.wire import BOUND_S, Closed, Wire


@pytest.fixture
def ending(runner: Runner, tmp_path: Path) -> Iterator[tuple[Server, subprocess.Popen[str]]]:
    server, process = start_server(runner.port, tmp_path)
    yield server, process
    assert stop(process) == 0


def refuses_connections(server: Server) -> bool:
    try:
        Wire(server.port).socket.close()
    except ConnectionError:
        return True
    return False


def test_a_running_job_ends_and_new_ones_are_refused(
    ending: tuple[Server, subprocess.Popen[str]], runner: Runner
) -> None:
    server, process = ending
    with server.wire() as running, server.wire() as kept:
        kept.request("POST", "/solo", body=b"before")
        assert kept.reply().status == 200
        running.request("POST", "/single", ("X-Do", "/gate/ending"), body=b"x")
        runner.seen("?waiting=1")
        process.send_signal(signal.SIGTERM)
        until(lambda: refuses_connections(server), "no new connection")
        kept.request("POST", "/solo", body=b"after")
        reply = kept.reply()
        assert (reply.status, reply.json()["error"]) == (503, "shutting_down")
        assert kept.ended()
        runner.open_gate("ending")
        assert running.reply().json()["gate"] == "ending"
        assert running.ended()
    assert process.wait(BOUND_S) == 0


def test_what_still_runs_at_the_deadline_is_cut(ending: tuple[Server, subprocess.Popen[str]], runner: Runner) -> None:
    server, process = ending
    with server.wire() as hanging, server.wire() as streaming:
        hanging.request("POST", "/single", ("X-Do", "/hang"), body=b"x")
        streaming.request("POST", "/image", ("X-Model-Id", "org/one"), ("X-Do", "/sse?n=0&interval=0.01"), body=b"x")
        assert streaming.reply_head().status == 200
        until(lambda: server.sessions() == 2, "both run")
        process.send_signal(signal.SIGTERM)
        reply = hanging.reply()
        assert (reply.status, reply.json()["error"]) == (503, "shutting_down")
        with pytest.raises(Closed):
            drain(streaming)
    assert process.wait(BOUND_S) == 0
    runner.seen("?idle=1")


def drain(wire: Wire) -> None:
    while True:
        if wire.until(b"\r\n") == b"0":
            return
