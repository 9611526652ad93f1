"""Where jobs arrive: TCP, IPv6, unix sockets and sockets that systemd hands over, of a real `orchd run`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.blackbox.wire import Wire
from tests.conftest import cannot_run
from tests.e2e.conftest import Start
from tests.e2e.daemon import PATIENCE_S, ROOT, Daemon
from tests.e2e.scripts import process
from tests.ports import free_port

HAND_OVER = """
import fcntl, os, sys
fds, pid, *program = sys.argv[1:]
kept = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in fds.split(",")]
for number, fd in enumerate(kept, 3):
    os.dup2(fd, number, inheritable=True)
os.environ.update(LISTEN_PID=pid or str(os.getpid()), LISTEN_FDS=str(len(kept)))
os.execv(program[0], program)
"""
"""What systemd does between fork and exec (sd_listen_fds(3))."""


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Path]:
    """A folder for sockets: their paths are short, and pytest's own folders have long names."""
    folder = Path(tempfile.mkdtemp(prefix="t-orchd-", dir="/tmp"))
    yield folder
    for left in folder.iterdir():
        left.unlink()
    folder.rmdir()


async def ends(daemon: Daemon) -> tuple[int, str]:
    """Return the exit code and the last line of a daemon that can't start."""
    assert daemon.process is not None
    async with asyncio.timeout(PATIENCE_S):
        code = await daemon.process.wait()
    assert "Traceback" not in daemon.log_text()
    return code, daemon.log_text().strip().splitlines()[-1]


async def ask(url: str, path: Path | None = None) -> tuple[int, dict[str, Any]]:
    """Send a job to the model `m`, over a unix socket if `path` is given; return status and the echoed request."""
    connector = aiohttp.UnixConnector(str(path)) if path is not None else None
    async with (
        aiohttp.ClientSession(connector=connector) as client,
        client.post(f"{url}/text-to-image", data=b"body", headers={"X-Model-Id": "m"}) as answer,
    ):
        return answer.status, await answer.json()


async def serves(daemon: Daemon, url: str, path: Path | None = None) -> None:
    status, echoed = await ask(url, path)
    assert (status, echoed["length"]) == (200, 4)


def listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


# -- unix sockets ----------------------------------------------------------------------------------------------------


async def test_tcp_and_a_unix_socket_at_once(make: Start, short: Path) -> None:
    path, port = short / "jobs.sock", free_port()
    daemon = make(settings={"jobs.listen": f"127.0.0.1:{port},unix:{path}"})
    daemon.write(process("m"))
    async with daemon:
        await daemon.until_state("m", "ready")
        await serves(daemon, f"http://127.0.0.1:{port}")
        await serves(daemon, "http://orchd", path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o660, "owner and group, whatever the umask"
        assert await daemon.metric("orchd_jobs_total", model_id="m", outcome="ok") == 2
        [line] = daemon.events("jobs_listening")
        assert (line["listen"], line["port"]) == ([f"127.0.0.1:{port}", f"unix:{path}"], port)
        assert await daemon.end() == 0
    assert not path.exists()


async def test_big_bodies_pass_over_a_unix_socket(make: Start, short: Path) -> None:
    path, body = short / "jobs.sock", os.urandom(1 << 20)
    daemon = make(settings={"jobs.listen": f"unix:{path}"})
    daemon.write(process("m", {"job": "/raw"}))
    async with daemon:
        await daemon.until_state("m", "ready")
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as client,
            client.post("http://orchd/text-to-image", data=body) as answer,
        ):
            assert (answer.status, await answer.read()) == (200, body)


async def test_the_socket_of_a_killed_daemon_is_replaced(make: Start, short: Path) -> None:
    path = short / "jobs.sock"
    daemon = make(settings={"jobs.listen": f"unix:{path}"})
    daemon.write(process("m"))
    async with daemon:
        await daemon.kill()
        assert path.is_socket()
        assert not listening(path)
        await daemon.start()
        await daemon.until_state("m", "ready")
        await serves(daemon, "http://orchd", path)


async def test_a_socket_on_which_somebody_listens_is_left_alone(make: Start, short: Path) -> None:
    path = short / "jobs.sock"
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as taken:
        taken.bind(str(path))
        taken.listen()
        before = path.stat()
        daemon = make(settings={"jobs.listen": f"unix:{path}"})
        daemon.write(process("m"))
        await daemon.start(wait=False)
        code, said = await ends(daemon)
        assert code == 2
        assert said.startswith(f"orchd: cannot listen on unix:{path} for jobs: Address already in use; ")
        assert path.stat().st_ino == before.st_ino
        assert path.stat().st_mode == before.st_mode
        assert listening(path)
    assert not list((daemon.state / "logs").glob("*")), "no runner was started"


async def test_a_socket_whose_listener_is_too_busy_to_accept_is_left_alone(make: Start, short: Path) -> None:
    """That it can't be connected to does not say that nobody listens; and finding out takes no time."""
    path = short / "jobs.sock"
    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(socket.socket(socket.AF_UNIX))
        taken.bind(str(path))
        taken.listen(0)
        full = False
        while not full:
            waiting = stack.enter_context(socket.socket(socket.AF_UNIX))
            waiting.setblocking(False)
            full = waiting.connect_ex(str(path)) == errno.EAGAIN
        daemon = make(settings={"jobs.listen": f"unix:{path}"})
        await daemon.start(wait=False)
        code, said = await ends(daemon)
        assert code == 2
        assert "Address already in use" in said
        assert path.is_socket()


async def test_a_file_that_is_no_socket_is_left_alone(make: Start, short: Path) -> None:
    path = short / "jobs.sock"
    path.write_text("precious")
    daemon = make(settings={"jobs.listen": f"unix:{path}"})
    await daemon.start(wait=False)
    code, said = await ends(daemon)
    assert code == 2
    assert "Address already in use" in said
    assert path.read_text() == "precious"


async def test_if_one_listener_fails_none_is_left(make: Start, short: Path) -> None:
    path = short / "jobs.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = make(settings={"jobs.listen": f"unix:{path},{address}"})
        await daemon.start(wait=False)
        code, said = await ends(daemon)
    assert code == 2
    assert said.startswith(f"orchd: cannot listen on {address} for jobs: Address already in use, by ")
    assert not path.exists()


async def test_a_folder_that_is_missing_is_a_clear_refusal(make: Start, short: Path) -> None:
    daemon = make(settings={"jobs.listen": f"unix:{short}/no/jobs.sock"})
    await daemon.start(wait=False)
    code, said = await ends(daemon)
    assert code == 2
    assert said.startswith(f"orchd: cannot listen on unix:{short}/no/jobs.sock for jobs: No such file or directory; ")


# -- IPv6 ------------------------------------------------------------------------------------------------------------


async def test_ipv6(make: Start) -> None:
    port = free_port()
    try:
        socket.create_server(("::1", port), family=socket.AF_INET6).close()
    except OSError:
        cannot_run("no IPv6 on loopback")
    daemon = make(settings={"jobs.listen": f"[::1]:{port}"})
    daemon.write(process("m"))
    async with daemon:
        await daemon.until_state("m", "ready")
        await serves(daemon, f"http://[::1]:{port}")


# -- sockets that are handed over ------------------------------------------------------------------------------------


async def handed(daemon: Daemon, sockets: list[socket.socket], *, pid: str = "") -> None:
    """Start the daemon as systemd does; `pid`: for whom the sockets are said to be, in place of its own."""
    daemon.folder.mkdir(parents=True, exist_ok=True)
    numbers = [one.fileno() for one in sockets]
    with daemon.log.open("ab") as log:
        daemon.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", HAND_OVER, ",".join(map(str, numbers)), pid),
            *(sys.executable, "-m", "orchd", "run", *daemon.flags()),
            cwd=ROOT,
            stdout=log,
            stderr=log,
            pass_fds=numbers,
        )


async def test_sockets_that_systemd_hands_over_are_served_and_stay_with_it(make: Start, short: Path) -> None:
    path = short / "jobs.sock"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        daemon = make(settings={"jobs.listen": "systemd"})
        daemon.write(process("m"))
        for _ in range(2):
            await handed(daemon, [tcp, unix])
            await daemon.until_up()
            await daemon.until_state("m", "ready")
            await serves(daemon, f"http://127.0.0.1:{tcp.getsockname()[1]}")
            await serves(daemon, "http://orchd", path)
            assert await daemon.end() == 0
            assert path.is_socket(), "it is systemd's, and so is the file"


async def test_a_request_that_waited_for_the_start_is_not_told_that_its_model_does_not_exist(make: Start) -> None:
    """While orchd restarts, requests wait in systemd's socket; they are answered once it knows its models."""
    with socket.create_server(("127.0.0.1", 0)) as tcp, Wire(tcp.getsockname()[1]) as early:
        early.request("POST", "/text-to-image", ("X-Model-Id", "m"), body=b"body")
        daemon = make(settings={"jobs.listen": "systemd"})
        daemon.write(process("m", warm=False))
        await handed(daemon, [tcp])
        await daemon.until_up()
        assert early.reply().status in (200, 503)
        assert await daemon.end() == 0


async def test_the_job_that_starts_orchd_is_served_and_so_is_one_that_comes_while_it_restarts(make: Start) -> None:
    """Nothing was looked at or probed yet when orchd takes them from systemd's socket; they wait for that."""
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        daemon = make(settings={"jobs.listen": "systemd", "jobs.start_wait_s": str(PATIENCE_S)})
        daemon.write(process("m"))
        for how in ("the first start", "a restart", "a restart after a kill"):
            with Wire(tcp.getsockname()[1]) as early:
                early.request("POST", "/text-to-image", ("X-Model-Id", "m"), body=b"body")
                await handed(daemon, [tcp])
                await daemon.until_up()
                reply = await asyncio.to_thread(early.reply)
                assert reply.status == 200, how
            if how == "a restart":
                await daemon.kill()
            else:
                assert await daemon.end() == 0


async def test_a_handed_over_socket_beside_one_of_its_own(make: Start) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        daemon = make(settings={"jobs.listen": f"systemd,127.0.0.1:{port}"})
        daemon.write(process("m"))
        await handed(daemon, [tcp])
        await daemon.until_up()
        await daemon.until_state("m", "ready")
        for each in (tcp.getsockname()[1], port):
            await serves(daemon, f"http://127.0.0.1:{each}")
        assert await daemon.end() == 0


async def test_systemd_without_a_socket_is_a_clear_refusal(make: Start) -> None:
    daemon = make(settings={"jobs.listen": "systemd"})
    await daemon.start(wait=False)
    code, said = await ends(daemon)
    assert code == 2
    assert said.startswith("orchd: cannot listen on systemd for jobs: no socket was handed over; ")
    assert "deploy/orchd.socket" in said


async def test_sockets_that_are_for_another_process_are_not_taken(make: Start) -> None:
    """LISTEN_PID is inherited by whoever a service starts; the sockets are not theirs."""
    with socket.create_server(("127.0.0.1", 0)) as tcp:
        daemon = make(settings={"jobs.listen": "systemd"})
        await handed(daemon, [tcp], pid="1")
        code, said = await ends(daemon)
    assert code == 2
    assert "no socket was handed over" in said
