"""The double as a process: it is killed, started again, steered, and refuses what the real one refuses."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.shared import caller
from tests.doubles.shared.recordings import eventually

_PROGRAM = (sys.executable, "-m", "tests.doubles.livepeer_node")


@contextlib.asynccontextmanager
async def process(folder: Path, *flags: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, dict[str, Any]]]:
    """Yields the process and what its ready file says."""
    ready, secret = folder / "ready", folder / "secret"
    secret.write_bytes(b"s3cret")
    given = ("--ready-file", str(ready), "--bootstrap-secret-file", str(secret), *flags)
    running = await asyncio.create_subprocess_exec(*_PROGRAM, *given, stdout=asyncio.subprocess.DEVNULL)
    try:
        await eventually(lambda: ready.exists() or running.returncode is not None, "it is ready")
        yield running, json.loads(ready.read_text())
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()
        await running.wait()
        ready.unlink(missing_ok=True)


async def beat(at: dict[str, Any], secret: str) -> caller.Answer:
    body = json.dumps({"runner_id": "a", "app": "x", "runner_url": "http://127.0.0.1:9"})
    return await caller.call(at["service_url"], "POST", "/runners/heartbeat", {"Authorization": secret}, body)


async def control(at: dict[str, Any], method: str, action: str = "") -> dict[str, Any]:
    state: dict[str, Any] = json.loads((await caller.call(at["control_url"], method, f"/_control{action}")).text)
    return state


async def test_it_can_be_killed_and_started_again_on_its_ports_and_steered(tmp_path: Path) -> None:
    async with process(tmp_path) as (running, at):
        secret = json.loads((await beat(at, "s3cret")).text)["heartbeat_secret"]
        assert list((await control(at, "GET"))["runners"]) == ["a"]
        os.kill(at["pid"], signal.SIGKILL)
        assert await running.wait() == -signal.SIGKILL
    listen, metrics = (at[name].partition("://")[2] for name in ("service_url", "metrics_url"))
    async with process(tmp_path, "--listen", listen, "--metrics-listen", metrics) as (running, again):
        assert again["service_url"] == at["service_url"]
        assert (await beat(again, secret)).status == 401
        assert (await beat(again, "s3cret")).status == 200
        assert (await control(again, "POST", "/lose?id=a"))["runners"] == {}
        assert (await control(again, "POST", "/restart"))["starts"] == 2
        await control(again, "POST", "/places?kind=control&n=64")
        assert (await caller.call(again["service_url"], "GET", "/discovery")).text == '{"error":"server busy"}\n'
        running.terminate()
        assert await running.wait() == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "bootstrap secret or static runner config is required"),
        (("--bootstrap-secret-file", "not-there"), "cannot read --bootstrap-secret-file not-there: No such file"),
    ],
)
async def test_a_bad_start_ends_with_2_and_says_why(flags: tuple[str, ...], words: str) -> None:
    running = await asyncio.create_subprocess_exec(*_PROGRAM, *flags, stderr=asyncio.subprocess.PIPE)
    _, said = await running.communicate()
    assert (running.returncode, words in said.decode(), b"Traceback" in said) == (2, True, False)


async def test_a_configuration_file_says_what_the_flags_say_and_a_flag_wins(tmp_path: Path) -> None:
    config = tmp_path / "orchestrator.toml"
    config.write_text('ServiceURL = "http://one.test"\nRunnerServiceURL = "http://two.test"\n')
    async with process(tmp_path, "--config", str(config), "--service-url", "http://three.test") as (_, at):
        told = json.loads((await beat(at, "s3cret")).text)
        assert told["orchestrator"] == "http://two.test"
        assert (
            json.loads((await caller.call(at["service_url"], "GET", "/discovery")).text)[0]["address"]
            == "http://three.test"
        )


async def test_a_key_that_it_does_not_know_ends_the_start(tmp_path: Path) -> None:
    config = tmp_path / "orchestrator.toml"
    config.write_text('runner_grants = ["127.0.0.1:9"]\n')
    running = await asyncio.create_subprocess_exec(*_PROGRAM, "--config", str(config), stderr=asyncio.subprocess.PIPE)
    _, said = await running.communicate()
    assert (running.returncode, said.decode()) == (2, "unknown configuration keys: ['runner_grants']\n")
