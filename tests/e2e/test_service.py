"""The daemon as a service: what systemd hears, what it exits with, what survives a kill, when it calls itself ready."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchd.tasks import spawn
from tests.e2e.conftest import Start
from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.e2e.scripts import Runner, process

WATCHDOG_S = 0.4


class Systemd:
    """The notify socket, as systemd holds it."""

    def __init__(self, path: Path) -> None:
        self.env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(WATCHDOG_S * 1_000_000))}
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)

    async def next(self) -> str:
        async with asyncio.timeout(PATIENCE_S):
            message = (await asyncio.get_running_loop().sock_recv(self._socket, 4096)).decode()
        self.heard.append(message)
        return message

    async def until(self, message: str) -> None:
        while await self.next() != message:
            pass

    def drain(self) -> list[str]:
        """Return what waits to be heard."""
        waiting = []
        while True:
            try:
                waiting.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return waiting

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
async def systemd(tmp_path: Path) -> AsyncIterator[Systemd]:
    systemd = Systemd(tmp_path / "notify")
    yield systemd
    systemd.close()


async def pid_of_runner(daemon: Daemon, model_id: str) -> int:
    model = await daemon.model(model_id)
    pid: int = (await Runner(model["runners"][0]["address"], daemon.client).about())["pid"]
    return pid


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def ends(daemon: Daemon) -> int:
    """Wait until the daemon has ended by itself, and return its exit code."""
    assert daemon.process is not None
    async with asyncio.timeout(PATIENCE_S):
        return await daemon.process.wait()


# -- systemd ---------------------------------------------------------------------------------------------------------


async def test_systemd_hears_ready_while_models_load_then_the_watchdog_and_stopping(
    make: Start, systemd: Systemd
) -> None:
    daemon = make(env=systemd.env)
    daemon.write(process("loads", {"health_word": "LOADING"}))
    await daemon.start(wait=False)
    await systemd.until("READY=1")
    async with daemon.client.get(f"{daemon.url}/nothing") as answer:
        assert answer.status == 404, "the job listener is up"
    await daemon.until_model("loads", "is known and not ready", lambda model: model and not model["ready"])
    status, body = await daemon.get("/readyz")
    assert (status, body["reasons"]) == (503, ["no model of 1 can serve"])
    while not any(line.startswith("STATUS=0 of 1 models ready; text-to-image/loads: ") for line in systemd.heard):
        await systemd.next()
    for _ in range(3):
        await systemd.until("WATCHDOG=1")
    assert systemd.heard.count("READY=1") == 1
    ending = spawn(daemon.end(), name="end")
    await systemd.until("STOPPING=1")  # Read as it comes: the kernel holds few messages that nobody takes.
    assert await ending == 0


async def test_a_daemon_that_is_frozen_does_not_feed_the_watchdog(
    make: Start, systemd: Systemd, tmp_path: Path
) -> None:
    """What says WATCHDOG=1 is the event loop itself, so one that hangs says nothing. A second daemon is the clock."""
    other = Systemd(tmp_path / "other")
    with contextlib.closing(other):
        async with make(env=systemd.env) as daemon, make("clock", env=other.env):
            await systemd.until("WATCHDOG=1")
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGSTOP)
            await daemon.until("it is frozen", lambda: _state(daemon) == "T")
            systemd.drain()
            other.drain()
            for _ in range(4):
                await other.until("WATCHDOG=1")
            assert systemd.drain() == []
            daemon.process.send_signal(signal.SIGCONT)
            await systemd.until("WATCHDOG=1")


def _state(daemon: Daemon) -> str:
    assert daemon.process is not None
    return Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()[0]


async def test_a_watchdog_that_is_meant_for_another_process_is_not_fed(make: Start, systemd: Systemd) -> None:
    async with make(env={**systemd.env, "WATCHDOG_PID": "1"}) as daemon:
        await systemd.until("READY=1")
        assert await daemon.end() == 0
        assert "WATCHDOG=1" not in [*systemd.heard, *systemd.drain()]


# -- exit codes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("setting", ["jobs.listen", "admin.listen"])
async def test_an_address_that_is_taken_is_named_and_costs_nothing(make: Start, setting: str) -> None:
    """Exit code 2, one plain line, and no runner was started."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        daemon = make(settings={setting: address})
        daemon.write(process("m"))
        await daemon.start(wait=False)
        assert await ends(daemon) == 2
    last = daemon.log_text().strip().splitlines()[-1]
    assert last.startswith(f"orchd: cannot listen on {address} for ")
    assert "Address already in use" in last
    assert f"--{setting.replace('.', '-')}" in last
    assert "Traceback" not in daemon.log_text()
    assert not list((daemon.state / "logs").glob("*"))


async def test_what_is_wrong_with_the_settings_is_named(make: Start, tmp_path: Path) -> None:
    daemon = make(settings={"docker.network": "x", "state_dir": "/proc/no"})
    await daemon.start(wait=False)
    assert await ends(daemon) == 2
    last = daemon.log_text().strip().splitlines()[-1]
    assert last.startswith("orchd: cannot use state directory /proc/no: ")
    code, said = await daemon.command("run", "--shutdown-drain-s", "-1")
    assert (code, "shutdown_drain_s" in said, "Traceback" in said) == (2, True, False), said


async def test_a_store_that_is_broken_is_said_and_not_overwritten(make: Start) -> None:
    daemon = make()
    daemon.state.mkdir(parents=True)
    garbage = b"this is no database" * 100
    (daemon.state / "orchd.db").write_bytes(garbage)
    await daemon.start(wait=False)
    assert await ends(daemon) == 2
    last = daemon.log_text().strip().splitlines()[-1]
    assert last.startswith("orchd: cannot ")
    assert str(daemon.state / "orchd.db") in last
    assert (daemon.state / "orchd.db").read_bytes() == garbage


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stop_ends_with_0(make: Start, number: signal.Signals) -> None:
    async with make() as daemon:
        assert await daemon.end(number) == 0
        assert daemon.events("orchd_stopped")


async def test_commands_without_a_daemon_exit_with_3(make: Start) -> None:
    daemon = make()
    daemon.state.mkdir(parents=True)
    restart = await daemon.command("restart", "m", *daemon.flags("state_dir"))
    status = await daemon.command("status", *daemon.flags("admin.listen", "state_dir"))
    for code, said in (restart, status):
        assert code == 3
        assert said.startswith("orchd: cannot reach orchd at ")
    assert restart[1].count("\n") == 1, restart
    assert "so no orchd has run on that state directory" in status[1]


async def test_orders_for_a_model_that_does_not_exist_name_those_that_do(make: Start) -> None:
    async with make() as daemon:
        daemon.write(process("m", warm=False))
        await daemon.until_state("m", "cold")
        for words in (("status", "x", *daemon.flags("admin.listen")), ("restart", "x", *daemon.flags("state_dir"))):
            assert await daemon.command(*words) == (2, "orchd: cannot find model 'x': there is text-to-image/m\n")


async def test_the_soft_descriptor_limit_is_raised_to_the_hard_one(make: Start) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    here = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        daemon = make()
        await daemon.start(wait=False)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, here)
    async with daemon.client:
        await daemon.until_up()
        assert daemon.process is not None
        assert resource.prlimit(daemon.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


# -- ready, and the first file ---------------------------------------------------------------------------------------


async def unready(daemon: Daemon) -> dict[str, Any]:
    """Return what /readyz says with its 503, once the daemon takes jobs and has read its file."""
    seen: dict[str, Any] = {}

    async def read() -> bool:
        status, body = await daemon.get("/readyz")
        assert status == 503
        seen.update(body)
        return bool(body["problems"])

    await daemon.until("it has started", lambda: daemon.events("orchd_ready"))
    await daemon.until("it tells what is wrong with its file", read)
    return seen


async def test_an_unreadable_file_at_the_very_first_start(make: Start) -> None:
    """Nothing is known to run, so it is up and not ready, says why, and takes the file as soon as it is good."""
    daemon = make()
    daemon.folder.mkdir()
    daemon.models.write_text('[{"pipeline": "text-to-image",,]')
    async with daemon:
        body = await unready(daemon)
        assert body["reasons"] == ["no models file has applied yet"]
        [problem] = body["problems"]
        assert problem.startswith(f"{daemon.models}:1:31: cannot read on: expected a key in double quotes")
        assert (await daemon.get("/healthz"))[0] == 200
        code, page = await daemon.command("status", *daemon.flags("admin.listen"))
        assert code == 0
        assert "1:31" in "".join(page.split())
        daemon.write(process("m"))
        await daemon.until_state("m", "ready")
        assert (await daemon.get("/readyz"))[0] == 200


async def test_a_file_that_is_missing_at_the_first_start_is_waited_for(make: Start) -> None:
    daemon = make()
    daemon.folder.mkdir()
    daemon.models.symlink_to(daemon.folder / "later.json")
    await daemon.start(wait=False)
    await daemon.until_up()
    body = await unready(daemon)
    way_out = "make it, or name another one by the setting models_file"
    assert body["problems"] == [f"{daemon.models}: cannot read the file: No such file or directory; {way_out}"]
    (daemon.folder / "later.json").write_text(json.dumps([process("m")]))
    await daemon.until_state("m", "ready")
    assert await daemon.end() == 0


async def test_a_bad_file_at_a_later_start_runs_the_last_good_definition(make: Start) -> None:
    daemon = make()
    daemon.write(process("m", {"say": ["hello"]}), process("other", warm=False))
    async with daemon:
        await daemon.until_state("m", "ready")
        assert await daemon.end() == 0
        daemon.models.write_bytes(b"\x00" * 10_000)
        await daemon.start()
        model = await daemon.until_state("m", "ready")
        assert model["held_over"]
        assert (await daemon.job("m"))[0] == 200
        assert (await daemon.job("other"))[0] == 200
        status, body = await daemon.get("/readyz")
        assert (status, len(body["problems"])) == (200, 1), "it serves; what is wrong is listed"
        assert await daemon.metric("orchd_reload_success") == 0
        assert (await daemon.status())["file"]["ok"] is False


async def test_a_bad_entry_is_listed_and_does_not_make_it_unready(make: Start) -> None:
    async with make() as daemon:
        daemon.write(process("good"), process("bad", replicas=0))
        await daemon.until_state("good", "ready")
        status, body = await daemon.get("/readyz")
        assert (status, body["status"]) == (200, "ready")
        assert any("text-to-image/bad" in problem and "replicas" in problem for problem in body["problems"])


# -- kill and stop ---------------------------------------------------------------------------------------------------


async def test_children_of_a_killed_daemon_are_adopted_and_end_with_the_next_one(make: Start) -> None:
    daemon = make()
    entries = [process("a"), process("b"), process("c")]
    daemon.write(*entries)
    async with daemon:
        for name in "abc":
            await daemon.until_state(name, "ready")
        before = {name: await pid_of_runner(daemon, name) for name in "abc"}
        await daemon.kill()
        assert all(map(lives, before.values()))
        os.kill(before["b"], signal.SIGKILL)
        daemon.write(*entries[:2])  # c left the file while nobody looked
        await daemon.start()
        for name in "ab":
            await daemon.until_state(name, "ready")
        await daemon.until("c is gone", lambda: not lives(before["c"]))
        assert await pid_of_runner(daemon, "a") == before["a"]
        assert (await pid_of_runner(daemon, "b")) not in before.values()
        assert [(await daemon.job(name))[0] for name in "ab"] == [200, 200]
        history = (await daemon.model("a"))["history"]
        assert [one["event"] for one in history] == ["found_running", "probe_ready"]

        running = [await pid_of_runner(daemon, name) for name in "ab"]
        assert await daemon.end() == 0
        assert not any(map(lives, running)), "processes stop with orchd"


async def test_down_ends_processes_that_a_killed_daemon_left(make: Start) -> None:
    daemon = make()
    daemon.write(process("m"))
    async with daemon:
        await daemon.until_state("m", "ready")
        pid = await pid_of_runner(daemon, "m")
        await daemon.kill()
        code, said = await daemon.command("down", *daemon.flags())
        assert (code, said.splitlines()[-1]) == (0, "all runners are gone"), said
        assert not lives(pid)


async def test_a_stop_lets_running_jobs_finish_and_refuses_new_ones(make: Start) -> None:
    async with make(settings={"shutdown_drain_s": "90"}) as daemon:
        daemon.write(process("m", maxSessions=2))
        model = await daemon.until_state("m", "ready")
        runner = Runner(model["runners"][0]["address"], daemon.client)
        async with asyncio.TaskGroup() as jobs:
            job = jobs.create_task(daemon.job("m", "/gate/g"))
            await runner.seen(waiting=1)
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGTERM)
            await daemon.until("it stops", lambda: daemon.events("orchd_stopping"))
            status, body = await daemon.get("/readyz")
            assert (status, body["reasons"]) == (503, ["orchd does not take jobs: it is starting or shutting down"])
            await runner.open_gate("g")
            assert (await job)[0] == 200
        assert await ends(daemon) == 0


async def test_the_daemon_runs_by_its_console_command(make: Start, tmp_path: Path) -> None:
    """As the unit runs it: the program `orchd`, settings from a file."""
    program = Path(sys.executable).with_name("orchd")
    daemon = make()
    daemon.write()
    settings = tmp_path / "orchd.toml"
    settings.write_text(
        f'models_file = "{daemon.models}"\nstate_dir = "{daemon.state}"\ninstance = "t-e2e-console"\n'
        f'[jobs]\nlisten = "127.0.0.1:{daemon.jobs_port}"\n[admin]\nlisten = "127.0.0.1:{daemon.admin_port}"\n'
        "[docker]\nenabled = false\n"
    )
    with daemon.log.open("wb") as log:
        daemon.process = await asyncio.create_subprocess_exec(
            program, "run", "--config", settings, stdout=log, stderr=log
        )
    await daemon.until_up()
    assert await daemon.end() == 0
