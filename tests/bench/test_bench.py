"""The bench still works; how fast anything is, no test asks."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from orchd.hooks.settings import WITH_OPTIONS
from tests.bench.pages import CONTROL, FILE_BAR_MS, HOLD_BAR_MS, Figures, missed
from tests.e2e.daemon import PATIENCE_S, ROOT

TITLES = (
    "Transactions",
    "Payments",
    "Turns of the reconcile loop",
    "Readers of a channel that wait",
    "Latency at 1 connection",
    "Requests per second at 16 connections",
    "Frames at 4 connections",
    "Memory",
    "From the saved file to a process",
    "From the saved file to a container",
    "From a container's death to not ready",
    "Start-up",
)


async def bench(temp: Path, *flags: str, module: str = "tests.bench") -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, "--quick", *flags),
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temp)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(2 * PATIENCE_S):
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()
    assert_empty(temp)
    return out.decode()


def assert_empty(folder: Path) -> None:
    assert list(folder.iterdir()) == []


async def test_without_docker_every_section_is_there_and_what_is_left_out_is_named(tmp_path: Path) -> None:
    text = await bench(tmp_path, "--no-docker")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(TITLES)
    assert text.count("Left out: as asked for by --no-docker.") == 3
    assert "| frames/s |" in text


@pytest.mark.docker
async def test_with_docker_nothing_is_left_out(tmp_path: Path) -> None:
    text = await bench(tmp_path)
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == list(TITLES)
    assert "Left out" not in text
    assert "| all 2 adopted and ready" in text


async def test_pages_of_many_models_are_measured(tmp_path: Path) -> None:
    text = await bench(tmp_path, module="tests.bench.pages")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == [
        "What holds the event loop",
        "What many models cost",
    ]
    for row in ("/metrics", "/status", "idle", "an edited file", "the same, scraped", "memory"):
        assert f"| {row} " in text


async def test_what_each_hook_adds_is_measured(tmp_path: Path) -> None:
    text = await bench(tmp_path, module="tests.bench.hooks")
    for name in ("none", "the default", *WITH_OPTIONS, "tickets, a free job", "tickets, a job from credit"):
        assert f"| {name}" in text


def test_only_an_idle_loop_may_be_held_longer_by_what_an_empty_one_takes_on_the_same_machine() -> None:
    kept = {"the first file": FILE_BAR_MS, "idle": 3 + HOLD_BAR_MS, CONTROL: 3.0, "/metrics": HOLD_BAR_MS}
    for late in (None, "the first file", "idle", "/metrics"):
        holds = {what: held_ms + (0.1 if what == late else 0) for what, held_ms in kept.items()}
        many = Figures(10, holds_ms=holds, holder=dict.fromkeys(holds, "a callback"))
        assert [line.partition(" held ")[0] for line in missed(Figures(1), many)] == ([] if late is None else [late])


async def test_what_commands_cost_is_measured(tmp_path: Path) -> None:
    text = await bench(tmp_path, module="tests.bench.commands")
    assert "| orchd status " in text
    assert "| orchd restart m " in text
    assert "| orchd stop m " in text
