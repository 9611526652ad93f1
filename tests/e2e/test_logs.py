"""`orchd logs` on a real daemon, with real processes and containers that crash, flood and are replaced."""

from __future__ import annotations

import asyncio
import contextlib
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.e2e.scripts import Entry, container, process
from tests.runners.local import SCRIPTED

MakeEntry = Callable[..., Entry]
NAME = "text-to-image/m"


async def shown(daemon: Daemon, *words: str) -> tuple[int, bytes, str]:
    """Run `orchd logs`; return its exit code, what it printed, and what it said on stderr."""
    argv = [sys.executable, "-m", "orchd", "logs", *words, *daemon.flags("state_dir", "instance")]
    command = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(PATIENCE_S):
        out, said = await command.communicate()
    assert command.returncode is not None
    return command.returncode, out, said.decode()


class Follower:
    """`orchd logs -f` as a child; its output is waited for."""

    def __init__(self, command: asyncio.subprocess.Process) -> None:
        self.command = command

    async def line(self, begins: bytes) -> bytes:
        """Return the next line of the log that begins so."""
        assert self.command.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            async for line in self.command.stdout:
                if line.startswith(begins):
                    return line
        raise AssertionError(f"it ended before {begins!r}")

    async def said(self, words: str) -> str:
        """Return the next line on stderr that holds `words`."""
        assert self.command.stderr is not None
        async with asyncio.timeout(PATIENCE_S):
            async for line in self.command.stderr:
                if words in line.decode():
                    return line.decode()
        raise AssertionError(f"it ended before {words!r}")


@contextlib.asynccontextmanager
async def following(daemon: Daemon, *words: str) -> AsyncIterator[Follower]:
    argv = [sys.executable, "-m", "orchd", "logs", "-f", *words, *daemon.flags("state_dir", "instance")]
    command = await asyncio.create_subprocess_exec(
        *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Follower(command)
    finally:
        with contextlib.suppress(ProcessLookupError):
            command.kill()
        await command.communicate()


def kept_files(daemon: Daemon) -> list[Path]:
    return [*(daemon.state / "ended-logs").glob("*.log")]


@pytest.fixture(params=["process", pytest.param("container", marks=pytest.mark.docker)])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def entry(kind: str) -> MakeEntry:
    return {"process": process, "container": container}[kind]


@pytest.fixture
def start(kind: str, request: pytest.FixtureRequest) -> Start:
    found: Start = request.getfixturevalue("docked" if kind == "container" else "make")
    return found


@pytest.fixture
async def daemon(start: Start) -> AsyncIterator[Daemon]:
    async with start() as daemon:
        yield daemon


async def test_what_a_runner_writes_is_shown(daemon: Daemon, entry: MakeEntry) -> None:
    daemon.write(entry("m", {"say": ["first", "caf\u00e9"]}))
    await daemon.until_state("m", "ready")
    code, out, said = await shown(daemon, "m")
    assert (code, said) == (0, "")
    assert out.startswith("first\ncaf\u00e9\n".encode())
    assert (await shown(daemon, "m", "--tail", "1"))[1].count(b"\n") == 1
    assert (await shown(daemon, "m", "--tail", "0"))[1] == b""


def shell(kind: str, code: str) -> Entry:
    """An entry that runs `code`."""
    argv = ["sh", "-c", code]
    return process("m", command=argv) if kind == "process" else container("m", entrypoint=argv)


async def test_the_last_words_of_one_that_crashed_are_kept(daemon: Daemon, kind: str) -> None:
    daemon.write(shell(kind, "echo boom; sleep 0.2; exit 3"))
    await daemon.until_state("m", "failed")
    code, out, said = await shown(daemon, NAME)
    assert (code, out) == (0, b"boom\n")
    down, ended = said.splitlines()
    assert down.startswith(f"orchd: {NAME}#0 does not run now (failed: ")
    assert down.endswith("; this is its last run")
    assert ended.startswith(f"orchd: {NAME}#0 ended 20")
    assert "exit" in ended
    assert "code 3" in ended
    assert (await shown(daemon, "m", "--previous"))[1] == b"boom\n"
    assert len(kept_files(daemon)) == 2
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in [daemon.state / "ended-logs", *kept_files(daemon)]}
    assert set(modes.values()) == {0o700, 0o600}


async def test_previous_shows_the_generation_that_was_replaced(daemon: Daemon, entry: MakeEntry) -> None:
    daemon.write(entry("m", {"say": ["old"]}))
    await daemon.until_state("m", "ready")
    code, out, said = await shown(daemon, "m", "--previous")
    assert (code, out) == (2, b"")
    assert said == f"orchd: cannot show an earlier run of {NAME}#0: none is kept\n"
    daemon.write(entry("m", {"say": ["new"]}))
    await daemon.until("the old one is gone", lambda: kept_files(daemon))
    await daemon.until_state("m", "ready")
    assert (await shown(daemon, "m"))[1].startswith(b"new\n")
    code, out, said = await shown(daemon, "m", "--previous")
    assert out.startswith(b"old\n")
    assert f"{NAME}#0 ended " in said
    assert ": replaced by generation " in said


async def test_a_follower_goes_on_with_the_next_run(daemon: Daemon, entry: MakeEntry) -> None:
    daemon.write(entry("m", {"say": ["run 1"], "crash_after": 1}))
    await daemon.until_state("m", "ready")
    async with following(daemon, "m") as follower:
        await follower.line(b"run 1")
        with contextlib.suppress(Exception):
            await daemon.job("m")
        assert "it exited with code 3" in await follower.said(f"{NAME}#0 ended ")
        await follower.line(b"run 1")
        daemon.write(entry("m", {"say": ["run 2"]}))
        assert "replaced by generation" in await follower.said(f"{NAME}#0 ended ")
        await follower.line(b"run 2")
        daemon.write()
        assert "it left aiModels.json" in await follower.said(f"{NAME}#0 ended ")
        await follower.said("is gone: its entry left aiModels.json")
        async with asyncio.timeout(PATIENCE_S):
            assert await follower.command.wait() == 0
    code, out, said = await shown(daemon, "m")
    assert (code, out.startswith(b"run 2\n")) == (0, True)
    assert "its entry is not in aiModels.json" in said


async def test_lines_of_several_replicas_bear_their_numbers(daemon: Daemon, entry: MakeEntry) -> None:
    daemon.write(entry("m", {"say": ["hello"]}, replicas=2))
    await daemon.until_model("m", "both run", lambda model: [r["state"] for r in model["runners"]] == ["ready"] * 2)
    code, out, _ = await shown(daemon, "m", "--tail", "5")
    assert code == 0
    assert out.splitlines()[0] == b"#0 hello"
    assert b"#1 hello" in out.splitlines()
    assert (await shown(daemon, "m", "--replica", "1"))[1].startswith(b"hello\n")
    code, _, said = await shown(daemon, "m", "--replica", "7")
    assert (code, said) == (2, f"orchd: cannot show replica 7 of {NAME}: there is 0, 1\n")


async def test_secrets_are_neither_shown_nor_kept(daemon: Daemon, entry: MakeEntry) -> None:
    env = {"API_KEY": "hunter2-hunter2"}
    daemon.write(entry("m", {"say": ["it is hunter2-hunter2."]}, env=env, token="token-token-token"))
    await daemon.until_state("m", "ready")
    assert (await shown(daemon, "m"))[1].startswith(b"it is ***.\n")
    daemon.write()
    [file] = await daemon.until("it is kept", lambda: kept_files(daemon))
    assert b"\nit is ***.\n" in file.read_bytes()
    assert b"hunter2" not in file.read_bytes()


async def test_without_a_daemon_it_shows_what_is_known(daemon: Daemon, entry: MakeEntry, kind: str) -> None:
    daemon.write(entry("m", {"say": ["old"]}))
    await daemon.until_state("m", "ready")
    daemon.write(entry("m", {"say": ["it is hunter2-hunter2."]}, env={"API_KEY": "hunter2-hunter2"}))
    await daemon.until("the old one is gone", lambda: kept_files(daemon))
    await daemon.until_state("m", "ready")
    await daemon.kill()
    code, out, said = await shown(daemon, "m")
    assert (code, out.splitlines()[0]) == (0, b"it is ***.")
    first, second = said.splitlines()
    assert first == f"orchd: no daemon answers on {daemon.state}, so this is what is known without one"
    assert second.startswith(f"orchd: {NAME}#0 is a process" if kind == "process" else f"orchd: {NAME}#0 is the cont")
    code, out, said = await shown(daemon, "m", "--previous")
    assert (code, out.splitlines()[0]) == (0, b"old")
    assert f"orchd: {NAME}#0 ended " in said
    await daemon.start()
    await daemon.until_state("m", "ready")
    assert (await shown(daemon, "m"))[1].startswith(b"it is ***.\n")


async def test_a_run_that_ended_while_orchd_was_away_is_kept_at_its_next_start(
    daemon: Daemon, entry: MakeEntry
) -> None:
    """A kill -9 between the crash and the keeping."""
    daemon.write(entry("m", {"say": ["first"], "crash_after": 1}))
    await daemon.until_state("m", "ready")
    runner = (await daemon.model("m"))["runners"][0]
    await daemon.kill()
    with contextlib.suppress(OSError):
        host, _, port = runner["address"].removeprefix("http://").rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        await reader.read()
        writer.close()
    await daemon.start()
    await daemon.until_state("m", "ready")
    await daemon.until("it is kept", lambda: kept_files(daemon))
    code, out, said = await shown(daemon, "m", "--previous")
    assert (code, out.splitlines()[0]) == (0, b"first")
    assert "while orchd was away" in said or "orchd was not there when it ended" in said


async def test_a_follower_is_told_that_orchd_has_ended(daemon: Daemon, entry: MakeEntry) -> None:
    daemon.write(entry("m", {"say": ["first"]}))
    await daemon.until_state("m", "ready")
    async with following(daemon, "m") as follower:
        await follower.line(b"first")
        await daemon.kill()
        assert "cannot go on: orchd has ended" in await follower.said("orchd")
        assert await follower.command.wait() == 3
    await daemon.start()


async def test_a_flood_is_read_whole_while_jobs_are_served(daemon: Daemon, kind: str) -> None:
    server = "/scripted.py" if kind == "container" else SCRIPTED
    lines = "import sys; sys.stdout.write(('x' * 999 + chr(10)) * 3000)"
    daemon.write(shell(kind, f'python3 -c "{lines}"; exec python3 -u {server}'))
    await daemon.until_state("m", "ready")
    async with following(daemon, "m"):  # Which nobody reads.
        reads = [shown(daemon, "m") for _ in range(3)]
        results = await asyncio.gather(*reads)
        assert [out.count(b"x" * 999 + b"\n") for _, out, _ in results] == [3000] * 3
        assert (await daemon.job("m"))[0] == 200


async def test_an_entry_with_a_url_is_refused_in_words(make: Start) -> None:
    async with make() as daemon:
        daemon.write({"pipeline": "text-to-image", "model_id": "m", "url": "http://127.0.0.1:1"})
        await daemon.until_model("m", "is there", bool)
        code, out, said = await shown(daemon, "m")
        assert (code, out) == (2, b"")
        assert said == (
            f"orchd: cannot show logs of {NAME}: orchd does not run it; look where it runs (http://127.0.0.1:1)\n"
        )
        code, _, said = await shown(daemon, "mm")
        assert (code, "cannot find model 'mm': did you mean" in said) == (2, True)
