"""The comparison with nginx and HAProxy still works; how fast anything is, no test asks."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.bench import proxy_programs, proxy_report
from tests.bench.proxy_loads import LOADS, Sample
from tests.bench.proxy_programs import NAMES, Missing
from tests.bench.test_bench import assert_empty, bench
from tests.conftest import cannot_run
from tests.e2e.daemon import PATIENCE_S, ROOT

Needs = Callable[[str], str]


@pytest.fixture
def programs(needs: Needs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", proxy_programs.PATH)
    for program in ("nginx", "haproxy", "cc"):
        needs(program)
    if len(proxy_programs.cores()) < 2:
        cannot_run("only one core")


@contextlib.asynccontextmanager
async def started(temp: Path, *flags: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start the bench; end it if the test has not."""
    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.proxy", "--quick", *flags),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temp)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield bench
    finally:
        with contextlib.suppress(ProcessLookupError):
            bench.terminate()
        await bench.communicate()


def tables(text: str) -> dict[str, list[list[str]]]:
    """Return the cells of each table, without its head, by its title."""
    found = {}
    for section in text.split("\n## ")[1:]:
        lines = [line for line in section.splitlines() if line.startswith("|")]
        found[section.splitlines()[0]] = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    return found


def leftovers(temp: Path) -> list[str]:
    """Return what of the bench runs on: each of its processes has its folder among its words."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            found.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [words for words in found if str(temp) in words]


@pytest.mark.usefixtures("programs")
async def test_every_program_is_measured_under_every_load_with_all_checks_on(tmp_path: Path) -> None:
    async with started(tmp_path) as bench, asyncio.timeout(4 * PATIENCE_S):
        out, progress = await bench.communicate()
    assert bench.returncode == 0, progress.decode()
    found = tables(out.decode())
    assert "orchd refuses a wrong token: yes" in out.decode()
    bars = found.pop("Bars")
    assert [row[0] for row in found.pop("Memory by size of the body")] == ["orchd, up", "orchd, down"]
    assert found.keys() == {load.title for load in LOADS.values()}
    for rows in found.values():
        assert [row[0] for row in rows] == list(NAMES)
    assert len(bars) == len(proxy_report.BARS) + 3
    assert {row[3] for row in bars} <= {"yes", "no"}
    assert_empty(tmp_path)


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, number: signal.Signals) -> None:
    async with started(tmp_path, "--runs", "1000", "--loads", "small16") as bench, asyncio.timeout(PATIENCE_S):
        assert bench.stderr
        assert (await bench.stderr.readline()).startswith(b"run 1, ")
        assert leftovers(tmp_path), "this test can tell what runs"
        bench.send_signal(number)
        await bench.communicate()
    assert bench.returncode == 130
    assert leftovers(tmp_path) == []
    assert_empty(tmp_path)


def test_all_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_programs, "PATH", "/nowhere")
    with pytest.raises(Missing) as caught:
        proxy_programs.check(["haproxy", "haproxy-splice", "nginx"])
    lines = str(caught.value).splitlines()
    assert lines[:3] == [
        "cannot run cc: not found (Debian: apt-get install gcc libc6-dev)",
        "cannot run haproxy: not found (Debian: apt-get install haproxy)",
        "cannot run nginx: not found (Debian: apt-get install nginx-light)",
    ]


def turns(**cpu_us: list[float]) -> dict[str, list[Sample]]:
    return {
        name.replace("_", "-"): [Sample(per_s=1, p50_us=each, p99_us=each, cpu_us=each, memory=each) for each in values]
        for name, values in cpu_us.items()
    }


def test_a_bar_goes_by_the_median_of_the_ratios_of_each_run() -> None:
    samples = {"small16": turns(orchd=[10, 30, 100], haproxy=[5, 16, 20])}
    reached = {row.cells[0]: row.cells[1:] for row in proxy_report.bars(samples, []).rows}
    assert reached["small JSON, 16 connections: CPU per job"] == (
        *("at most 2.0 x haproxy", "x 2.00 (x 1.88 to x 5.00)", "yes"),
    )
    assert reached["1,000 event streams: memory"][1:] == ("not measured", "-")


@pytest.mark.parametrize(("ours", "met"), [(10.9, "yes"), (11.1, "no")])
def test_a_bar_is_met_up_to_its_limit(ours: float, met: str) -> None:
    samples = {"small1": turns(orchd=[ours], nginx=[10.0])}
    row = next(row for row in proxy_report.bars(samples, []).rows if row.cells[0] == "small JSON, 1 connection: p50")
    assert row.cells[3] == met


def test_memory_is_flat_if_a_big_body_takes_no_more_than_a_small_one() -> None:
    mib = 1024 * 1024
    memory = [{"up": (2 * mib, 2 * mib + 1), "down": (2 * mib, 4 * mib)}]
    rows = {row.cells[0]: row.cells[3] for row in proxy_report.bars({}, memory).rows}
    assert rows["memory with a body of 1 GiB, up"] == "yes"
    assert rows["memory with a body of 1 GiB, down"] == "no"


@pytest.mark.usefixtures("programs")
async def test_what_sold_sessions_cost_is_measured(tmp_path: Path) -> None:
    text = await bench(tmp_path, module="tests.bench.live_runner")
    found = {title: [row[0] for row in rows] for title, rows in tables(f"\n{text}").items()}
    assert found == {
        "Requests of a session": ["/models/...", "a free session", "a paid session", "HAProxy"],
        "What payment costs": ["a challenge", "a paid reserve"],
        "What a connection costs": ["an open connection", "a new one", "a new one, TLS"],
    }
