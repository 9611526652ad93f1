"""Jobs counted inside their runners: never more than `maxSessions`, whoever leaves, and whatever the runner notices."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.blackbox import serve
from tests.blackbox.conftest import Runner, Server, stop, until
from tests.blackbox.counting import CountingRunner, Notices
from tests.ports import free_port

ROUNDS = 2
HASTY = {"interval_s": 0.2, "timeout_s": 0.5, "failures": 2, "restart_after_s": 0.2}
"""Health checks that kill a runner that does not answer three probes."""
UNANSWERED = 6


@pytest.fixture(scope="module")
def runners() -> Iterator[dict[Notices, CountingRunner]]:
    made = {notices: CountingRunner(notices) for notices in Notices}
    yield made
    for runner in made.values():
        runner.close()


def entry(notices: Notices, runner: CountingRunner) -> dict[str, Any]:
    model = {"pipeline": notices.name.lower().replace("_", "-"), "model_id": "one", "url": runner.url}
    calm = {"interval_s": 3600, "failures": 1000}
    return model | {"maxSessions": 1, "price_per_unit": 0, "health": calm, "inference": {"path": "/x", "timeout_s": 3}}


@pytest.fixture(scope="module")
def orchd(runners: dict[Notices, CountingRunner], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder, jobs, admin = tmp_path_factory.mktemp("letting-go"), free_port(), free_port()
    models = [entry(notices, runner) for notices, runner in runners.items()]
    blocking = {"pipeline": "blocking", "model_id": "one", "warm": True, "maxSessions": 1, "price_per_unit": 0}
    blocking |= {"command": ["python3", str(serve.SCRIPTED), "--port", "{port}"], "health": HASTY}
    models.append(blocking | {"inference": {"path": "/echo", "timeout_s": 60}})
    process = serve.run(folder, models, serve.FLAGS | {"instance": f"t-letting-go-{secrets.token_hex(4)}"}, jobs, admin)
    server = Server(jobs, admin, process.pid)
    try:
        until(lambda: process.poll() is not None or all_ready(admin), "it is up")
        assert process.poll() is None, (folder / "log").read_text()
        yield server
    finally:
        ended(process, folder)


def all_ready(admin: int) -> bool:
    models = serve.status(admin).get("models", [])
    return bool(models) and all(model["ready"] for model in models)


def ended(process: subprocess.Popen[str], folder: Path) -> None:
    assert stop(process) == 0, (folder / "log").read_text()


def in_turn(orchd: Server, runner: CountingRunner, pipeline: str, *, at_once: bool) -> None:
    """Have callers come and leave, each as soon as the one before has left and there is room."""
    for number in range(1, ROUNDS + 1):
        refusals: list[str] = []

        def got_in(begun: int = runner.begun, refusals: list[str] = refusals) -> bool:
            """Ask; leave as soon as the runner has the job, or has begun to answer it."""
            with orchd.wire() as wire:
                wire.request("POST", f"/{pipeline}", *((("X-At-Once", "yes"),) if at_once else ()), body=b"")
                if at_once:
                    answer = wire.reply_head()
                    if answer.status == 200:
                        return True
                    assert answer.status == 503
                    refusals.append(b"".join(wire.body(answer)).decode())
                    return False
                until(lambda: runner.begun > begun or wire.has_come(), "it has begun, or is refused")
                if runner.begun > begun:
                    return True
                reply = wire.reply()
                assert reply.status == 503
                refusals.append(reply.body.decode())
                return False

        until(got_in, f"caller {number} of {pipeline} has its job begun")
        assert all("letting go" in refusal for refusal in refusals), refusals
    until(lambda: orchd.state()[f"{pipeline}/one"]["active"] == 0, "the slot is back")


@pytest.mark.parametrize("at_once", [False, True], ids=["before an answer", "in an answer"])
def test_no_runner_ever_has_more_jobs_inside_than_max_sessions(
    orchd: Server, runners: dict[Notices, CountingRunner], at_once: bool
) -> None:
    with ThreadPoolExecutor(len(runners)) as callers:
        playing = [
            callers.submit(in_turn, orchd, runner, notices.name.lower().replace("_", "-"), at_once=at_once)
            for notices, runner in runners.items()
        ]
        for one in playing:
            one.result()
    assert {notices: runner.most for notices, runner in runners.items()} == dict.fromkeys(Notices, 1)
    assert all(runner.begun >= ROUNDS for runner in runners.values())


def test_a_runner_that_works_on_for_nobody_is_not_killed_for_the_probes_that_it_does_not_answer(orchd: Server) -> None:
    """It blocks its whole loop, as a program with one thread does, for far longer than its health checks bear."""
    before = blocking(orchd)
    pid = Runner(int(before["address"].rsplit(":", 1)[1])).ask("/_env")["pid"]
    with orchd.wire() as wire:
        wire.request("POST", "/blocking", ("X-Do", "/block?s=60"), body=b"")
        until(lambda: blocking(orchd)["sessions"] == 1, "it has its slot")
        until(lambda: unanswered(orchd) > 0, "it is blocked")
    until(lambda: blocking(orchd)["letting_go"] == 1, "its caller has left")
    known = unanswered(orchd)
    until(lambda: unanswered(orchd) >= known + UNANSWERED, "probes were in vain")
    os.kill(pid, signal.SIGUSR1)
    until(lambda: blocking(orchd)["sessions"] == 0, "the work is over")
    after = blocking(orchd)
    assert (after["handle"], after["restarts"], after["state"]) == (before["handle"], 0, "ready")


def blocking(orchd: Server) -> dict[str, Any]:
    """Return what is said of that runner."""
    (model,) = [model for model in serve.status(orchd.admin)["models"] if model["pipeline"] == "blocking"]
    (runner,) = model["runners"]
    found: dict[str, Any] = runner
    return found


def unanswered(orchd: Server) -> float:
    """Return how many probes of that runner have timed out."""
    for _ in range(2):  # A series that is new is at zero on its first page.
        with urllib.request.urlopen(f"http://127.0.0.1:{orchd.admin}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
    found = [line for line in lines if line.startswith("orchd_probes_total{") and set(labels(line)) >= TIMED_OUT]
    assert len(found) <= 1
    return sum(float(line.rsplit(" ", 1)[1]) for line in found)


TIMED_OUT = {'pipeline="blocking"', 'result="timeout"'}


def labels(line: str) -> list[str]:
    return line[line.index("{") + 1 : line.index("}")].split(",")
