"""`orchd demo`, as a user types it: what it shows, and that nothing is left of it however it ends."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import docker
import pytest

from tests.docker_images import BASE
from tests.e2e.daemon import PATIENCE_S, ROOT

CONTAINERS = pytest.param("docker", marks=pytest.mark.docker)

FAILING = """\
import sys
from pathlib import Path
from orchd.cli import demo, main

demo.PROGRAM = Path(sys.argv[1])
sys.exit(main(["demo"]))
"""
"""Runs the demo with another program as its model."""

README = Path(__file__).parents[2] / "README.md"


class Demo:
    """Attributes:
    temp: where it may write; shall be empty in the end.
    text: what it has printed so far, errors as well.
    """

    def __init__(self, process: asyncio.subprocess.Process, temp: Path) -> None:
        self.process = process
        self.temp = temp
        self.text = ""

    @property
    def instance(self) -> str:
        found = re.search(r"instance (demo-[0-9a-f]{8})", self.text)
        assert found, self.text
        return found[1]

    async def read(self, until: str | None = None) -> None:
        """Read its output until `until` was printed, or to the end."""
        assert self.process.stdout is not None
        async with asyncio.timeout(2 * PATIENCE_S):
            while until is None or until not in self.text:
                line = await self.process.stdout.readline()
                self.text += line.decode()
                if not line:
                    assert until is None, f"it ended before {until!r}: {self.text}"
                    return

    async def end(self) -> int:
        await self.read()
        async with asyncio.timeout(PATIENCE_S):
            return await self.process.wait()

    def assert_nothing_left(self) -> None:
        assert list(self.temp.iterdir()) == []
        assert processes_about(str(self.temp)) == {}


@asynccontextmanager
async def demo(temp: Path, argv: Sequence[str], env: Mapping[str, str] | None = None) -> AsyncIterator[Demo]:
    """Run a command whose temporary files lie in `temp`; all of its processes bear that in their environment."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temp), "ORCHD_DEMO_BASE": BASE, **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield Demo(process, temp)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        await process.communicate()


def orchd(runtime: str) -> list[str]:
    return [sys.executable, "-m", "orchd", "demo", "--runtime", runtime]


def processes_about(text: str) -> dict[int, str]:
    """Return the processes that bear `text` in their environment or arguments: their arguments by pid."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if text in words or text.encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = words
        except OSError:
            continue  # Gone, or not ours.
    return found


def assert_engine_clean(instance: str) -> None:
    with docker.APIClient(version="auto") as client:
        mine = {"label": f"orchd.instance={instance}"}
        assert client.containers(all=True, filters=mine) == []
        assert not client.volumes(filters=mine)["Volumes"]
        assert client.networks(filters=mine) == []
        assert client.images(all=True, filters=mine) == []
        assert client.images(f"orchd-{instance}") == []
        assert client.inspect_image(BASE)  # type: ignore[no-untyped-call]


def wording(step: str) -> str:
    """Return a step without what differs from run to run: its time, and ports."""
    return re.sub(r"^(  ✓) +\d+\.\d{3} s|(?<=127\.0\.0\.1:)\d+", r"\1", step)


@pytest.mark.parametrize("runtime", ["process", CONTAINERS])
async def test_the_demo_shows_a_job_an_edit_and_a_removal_and_leaves_nothing(runtime: str, tmp_path: Path) -> None:
    async with demo(tmp_path, orchd(runtime)) as run:
        assert await run.end() == 0, run.text
    assert len(re.findall("921,600 bytes, green sum 24,576,000", run.text)) == 4
    assert "no restart" in run.text
    assert "draining, 1 session left" in run.text
    assert re.search("404: cannot serve model 'green-tint-cpu'.*green-tint-two", run.text)
    steps = [line for line in run.text.splitlines() if line.startswith("  ")]
    assert all(re.match(r"  ✓ +\d+\.\d{3} s  \S", step) for step in steps), run.text
    assert "\x1b" not in run.text, "colours are for terminals"
    if runtime == "process":
        shown = README.read_text().partition("<!-- demo -->\n```\n")[2].partition("```")[0].splitlines()
        assert [wording(line) for line in shown] == [wording(step) for step in steps[: len(shown)]]
    run.assert_nothing_left()
    if runtime == "docker":
        assert_engine_clean(run.instance)


@pytest.mark.parametrize(
    ("runtime", "when", "number"),
    [
        ("process", "instance", signal.SIGINT),
        ("process", "ready", signal.SIGINT),
        ("process", "ready", signal.SIGTERM),
        pytest.param("docker", "instance", signal.SIGINT, marks=pytest.mark.docker),
        pytest.param("docker", "ready", signal.SIGINT, marks=pytest.mark.docker),
    ],
)
async def test_an_interrupted_demo_leaves_nothing(
    runtime: str, when: str, number: signal.Signals, tmp_path: Path
) -> None:
    """`instance` is in its first line, `ready` is said when the model runs."""
    async with demo(tmp_path, orchd(runtime)) as run:
        await run.read(until=when)
        run.process.send_signal(number)
        assert await run.end() == 130, run.text
    assert "leave nothing behind" in run.text
    run.assert_nothing_left()
    if runtime == "docker":
        assert_engine_clean(run.instance)


async def test_a_reader_who_leaves_ends_the_demo_without_a_word(tmp_path: Path) -> None:
    """`make demo | head`: all that was started is stopped, and it is no failure."""
    ours, theirs = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *orchd("process"),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=theirs,
        stderr=asyncio.subprocess.PIPE,
    )
    os.close(theirs)
    with os.fdopen(ours) as reading:
        while "aiModels.json" not in await asyncio.to_thread(reading.readline):
            pass
    async with asyncio.timeout(2 * PATIENCE_S):
        _, said = await process.communicate()
    assert (process.returncode, said) == (0, b"")
    Demo(process, tmp_path).assert_nothing_left()


async def test_a_daemon_killed_under_the_demo_is_told_and_its_runners_are_ended(tmp_path: Path) -> None:
    async with demo(tmp_path, orchd("process")) as run:
        await run.read(until="start `orchd run`")
        # A child that the daemon has just forked bears its arguments, too, until it is another program.
        daemon = min(pid for pid, words in processes_about(run.instance).items() if " orchd run " in words)
        os.kill(daemon, signal.SIGKILL)
        assert await run.end() == 2
    assert "`orchd run` ended with exit code -9" in run.text
    run.assert_nothing_left()


async def test_a_failing_demo_says_why_and_shows_the_log_and_leaves_nothing(tmp_path: Path) -> None:
    program = tmp_path / "no_model.py"
    program.write_text("raise SystemExit('no weights here')")
    temp = tmp_path / "temp"
    temp.mkdir()
    async with demo(temp, [sys.executable, "-c", FAILING, str(program)]) as run:
        assert await run.end() == 2, run.text
    assert "orchd: cannot start green-tint-cpu" in run.text
    assert "no weights here" in run.text
    assert re.search("The last lines of its log:\n    | .*orchd_ready", run.text)
    run.assert_nothing_left()


async def test_the_demo_without_an_engine_says_so_and_names_the_other_way(tmp_path: Path) -> None:
    socket = f"unix://{tmp_path}/none.sock"
    async with demo(tmp_path, orchd("docker"), {"DOCKER_HOST": socket}) as run:
        assert await run.end() == 2, run.text
    assert f"cannot run the demo on Docker Engine at {socket}" in run.text
    assert "--runtime process" in run.text
    run.assert_nothing_left()


@pytest.mark.docker
async def test_a_base_image_that_cannot_be_had_is_told(tmp_path: Path) -> None:
    async with demo(tmp_path, orchd("docker"), {"ORCHD_DEMO_BASE": "localhost:9/none:1"}) as run:
        assert await run.end() == 2, run.text
    assert "cannot pull localhost:9/none:1" in run.text
    assert "ORCHD_DEMO_BASE" in run.text
    run.assert_nothing_left()
    assert_engine_clean(run.instance)
