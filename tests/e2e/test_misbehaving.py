"""Runners that misbehave: what orchd says of each, and what it does."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from orchd.tasks import spawn
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import Runner, container, process

NAME = "m"
PATIENT: dict[str, Any] = {"start_timeout_s": 60, "loading_timeout_s": 60, "health": {"timeout_s": 30}}
"""Knobs for a runner that shall be ready once, however slow the machine."""
HUNG: dict[str, Any] = {**PATIENT, "health": {"timeout_s": 1, "restart_after_s": 0.3}}
"""The same; when it hangs then, its probes find out soon."""
SILENT: dict[str, Any] = {**HUNG, "start_timeout_s": 0.5}
"""For one that does not open its port: its start window is over soon."""
LOADING: dict[str, Any] = {**PATIENT, "loading_timeout_s": 0.5}
"""For one that answers, but is never ready."""


@pytest.fixture
async def daemon(make: Start) -> AsyncIterator[Daemon]:
    """A daemon that gives up after two failures."""
    async with make(settings={"reconcile.failure_limit": "2", "reconcile.backoff_max_s": "0.2"}) as daemon:
        yield daemon


async def runner_of(daemon: Daemon) -> Runner:
    model = await daemon.model(NAME)
    return Runner(model["runners"][0]["address"], daemon.client)


def whys(model: dict[str, Any]) -> str:
    return "\n".join(f"{one['before']} -> {one['after']}: {one['why']} [{one['evidence']}]" for one in model["history"])


async def parked(daemon: Daemon, entry: dict[str, Any]) -> dict[str, Any]:
    """Write the entry and return its model's status once orchd has tried twice and given up."""
    daemon.write(entry)
    model = await daemon.until_state(NAME, "failed")
    assert [one["after"] for one in model["history"]].count("backoff") == 1
    assert await daemon.metric("orchd_runner_restarts_total", model_id=NAME) == 2
    levels = {one["state"]: one["level"] for one in daemon.events("runner_state")}
    assert (levels["backoff"], levels["failed"]) == ("warning", "error"), "seen by who only looks at what is wrong"
    assert model["reason"].startswith(
        "it failed too often; orchd gives up until its entry is edited or `orchd restart`"
    )
    status, body, headers = await daemon.job(NAME)
    assert (status, headers["Livepeer-Error"]) == (503, "not_ready")
    told = re.sub(r"http://127\.0\.0\.1:\d+", "", model["reason"])
    assert told in json.loads(body)["message"], "a caller is told what the operator sees, but for inner addresses"
    assert headers["Retry-After"]
    return model


async def test_one_that_never_leaves_loading(daemon: Daemon) -> None:
    """Its jobs are refused with what it says; it is started anew after `loading_timeout_s`, and parked in the end."""
    daemon.write(process(NAME, {"health_word": "LOADING"}, **PATIENT))
    model = await daemon.until_model(NAME, "says that it loads", lambda m: '"LOADING"' in m.get("reason", ""))
    assert model["state"] == "loading"
    status, body, _ = await daemon.job(NAME)
    assert status == 503
    assert '200 {"status": "LOADING"}' in json.loads(body)["message"]

    model = await parked(daemon, process(NAME, {"health_word": "LOADING"}, **LOADING))
    detail = model["runners"][0]["detail"]
    assert detail == 'it was not ready after 0.5 s of loading: probe: 200 {"status": "LOADING"}'
    assert await daemon.metric("orchd_runner_restarts_total", model_id=NAME, reason="loading_timeout") == 2


async def test_one_that_says_error_with_200(daemon: Daemon) -> None:
    """ERROR is sticky in such runners: it is not waited for but started anew."""
    model = await parked(daemon, process(NAME, {"health_word": "ERROR"}))
    assert model["runners"][0]["detail"] == 'it says that it is in error (200 {"status": "ERROR"})'
    assert await daemon.metric("orchd_runner_restarts_total", model_id=NAME, reason="error") == 2


async def test_one_that_falls_into_error_is_healed_by_a_new_start(daemon: Daemon) -> None:
    daemon.write(process(NAME))
    await daemon.until_state(NAME, "ready")
    before = await runner_of(daemon)
    pid = (await before.about())["pid"]
    await before.script(health_word="ERROR")
    model = await daemon.until_model(
        NAME, "is ready again", lambda m: m["runners"][0]["restarts"] == 1 and m["state"] == "ready"
    )
    assert (await (await runner_of(daemon)).about())["pid"] != pid
    assert 'it says that it is in error (200 {"status": "ERROR"}); started again in' in whys(model)


async def test_one_whose_health_is_not_json(daemon: Daemon) -> None:
    """What can't be read is no reason to serve: it counts as loading, and the answer is shown."""
    script = {"health_body": "<html>It works!</html>", "health_type": "text/html"}
    model = await parked(daemon, process(NAME, script, **LOADING))
    detail = model["runners"][0]["detail"]
    assert detail.startswith("it was not ready after 0.5 s of loading: probe: GET http://127.0.0.1:")
    said = "/health says 200 <html>It works!</html>; a body that is neither JSON nor a single word holds no status word"
    assert said in detail
    assert "set health.kind to http-status" in detail
    assert said in daemon.events("health_unknown")[0]["evidence"]


async def test_one_that_was_ready_and_then_says_what_nobody_can_read(daemon: Daemon) -> None:
    """It keeps its verdict: it goes on serving."""
    daemon.write(process(NAME, **PATIENT))
    await daemon.until_state(NAME, "ready")
    await (await runner_of(daemon)).script(health_body="<html>It works!</html>")
    await daemon.until("the odd answer was noticed", lambda: daemon.events("health_unknown"))
    assert (await daemon.job(NAME))[0] == 200
    model = await daemon.model(NAME)
    assert (model["state"], model["runners"][0]["restarts"]) == ("ready", 0)


async def test_one_that_accepts_and_never_answers(daemon: Daemon) -> None:
    """The kernel takes what nobody accepts: such a server is there as soon as Python is."""
    server = (
        "import os, socket, time; s = socket.create_server(('127.0.0.1', int(os.environ['PORT']))); time.sleep(600)"
    )
    command = [sys.executable, "-ISc", server]
    knobs = {**SILENT, "start_timeout_s": 3, "health": {"timeout_s": 0.3, "restart_after_s": 0.3}}
    model = await parked(daemon, process(NAME, command=command, **knobs))
    detail = model["runners"][0]["detail"]
    assert detail.startswith("it stayed unhealthy for 0.3 s: probe: GET http://127.0.0.1:")
    assert detail.endswith("/health: no answer within 0.3 s (health.timeout_s)")
    assert await daemon.metric("orchd_runner_restarts_total", model_id=NAME, reason="unhealthy") == 2


async def test_one_that_falls_silent_while_it_serves(daemon: Daemon) -> None:
    """Its job ends with 504, which hurries a probe; the silence kills it, and the next start serves again."""
    daemon.write(process(NAME, inference={"timeout_s": 3}, **HUNG))
    await daemon.until_state(NAME, "ready")
    await (await runner_of(daemon)).script(mute=True)
    status, body, headers = await daemon.job(NAME)
    assert (status, headers["Livepeer-Error"]) == (504, "backend_timeout")
    assert "3 s" in json.loads(body)["message"]
    await daemon.until_model(
        NAME, "is ready again", lambda m: m["runners"][0]["restarts"] == 1 and m["state"] == "ready"
    )
    assert (await daemon.job(NAME))[0] == 200
    assert await daemon.metric("orchd_sessions_active", model_id=NAME) == 0


async def test_one_whose_health_is_blocked_by_its_own_inference(daemon: Daemon) -> None:
    """Probes that time out while its jobs make progress prove nothing: it is neither killed nor closed for jobs."""
    daemon.write(process(NAME, max_sessions=2, **HUNG))
    await daemon.until_state(NAME, "ready")
    pid = (await (await runner_of(daemon)).about())["pid"]

    first = spawn(daemon.job(NAME, "/block?s=600"), name="the job that blocks")

    async def probed_in_vain() -> bool:
        return await daemon.metric("orchd_probes_total", model_id=NAME, result="timeout") >= 3

    await daemon.until("it was probed in vain, again and again", probed_in_vain)
    model = await daemon.model(NAME)
    assert (model["state"], model["sessions"]["active"]) == ("ready", 1)
    second = spawn(daemon.job(NAME, "/echo"), name="one more job")
    await daemon.until_model(NAME, "took the second job", lambda m: m["sessions"]["active"] == 2)

    os.kill(pid, signal.SIGUSR1)
    assert [status for status, _, _ in await asyncio.gather(first, second)] == [200, 200]
    model = await daemon.model(NAME)
    assert (model["state"], model["runners"][0]["restarts"]) == ("ready", 0)


async def test_one_that_ignores_sigterm(daemon: Daemon) -> None:
    """It is killed when its grace is over, and that is what is told."""
    daemon.write(process(NAME, {"term": "ignore"}, stop={"grace_s": 0.3}))
    await daemon.until_state(NAME, "ready")
    code, said = await daemon.command("restart", NAME, *daemon.flags("state_dir"))
    assert code == 0, said
    model = await daemon.until_model(
        NAME, "is ready again", lambda m: m["state"] == "ready" and m["runners"][0]["last_stop"]
    )
    assert model["runners"][0]["last_stop"].startswith("killed, exit code -9")
    assert "killed, exit code -9" in whys(model)
    assert model["runners"][0]["restarts"] == 0, "it was restarted on purpose, not because it failed"
    _, page = await daemon.command("status", NAME, *daemon.flags("admin.listen"))
    assert "killed" in page


async def test_one_that_exits_0_at_once(daemon: Daemon) -> None:
    """A server that ends has failed, whatever its exit code."""
    model = await parked(daemon, process(NAME, {"exit_at_once": 0}))
    assert model["runners"][0]["detail"] == "it exited with code 0"
    assert "failed 2 times, the last time: it exited with code 0" in whys(model)


async def test_one_that_ends_with_a_last_word(daemon: Daemon) -> None:
    """Its last log lines are kept: nobody has to look for them."""
    entry = process(NAME, command=["/bin/sh", "-c", "echo loading; echo no weights at /models >&2; exit 3"])
    model = await parked(daemon, entry)
    [runner] = model["runners"]
    assert runner["detail"] == "it exited with code 3"
    assert runner["last_log"] == ["loading", "no weights at /models"]
    assert model["history"][-1]["evidence"] == "loading | no weights at /models"
    _, page = await daemon.command("status", NAME, *daemon.flags("admin.listen"))
    assert "no weights at /models" in page


async def test_one_that_never_opens_its_port(daemon: Daemon) -> None:
    model = await parked(daemon, process(NAME, {"open_after_s": -1}, **SILENT))
    detail = model["runners"][0]["detail"]
    assert detail.startswith("it stayed unhealthy for 0.3 s: probe: GET http://127.0.0.1:")
    assert "/health: connection refused: nothing listens on this port there" in detail


async def test_one_that_opens_its_port_late_is_waited_for(daemon: Daemon) -> None:
    """Inside the start window silence is loading, and not a failure."""
    daemon.write(process(NAME, {"open_after_s": 1}, **PATIENT))
    model = await daemon.until_state(NAME, "ready")
    assert model["runners"][0]["restarts"] == 0


@pytest.mark.parametrize("framing", ["sized", "chunked"])
async def test_one_that_breaks_off_bodies(daemon: Daemon, framing: str) -> None:
    """The caller sees that the body is not whole; the slot is free at once, and a runner that is well goes on."""
    daemon.write(process(NAME))
    await daemon.until_state(NAME, "ready")
    with pytest.raises(aiohttp.ClientPayloadError):
        await daemon.job(NAME, f"/break?of=1000&at=500&framing={framing}")
    assert (await daemon.job(NAME))[0] == 200, "maxSessions is 1: the slot came back"
    assert await daemon.metric("orchd_job_errors_total", model_id=NAME, code="backend_broke") == 1
    [done] = [one for one in daemon.events("job_done") if one["outcome"] == "backend_failed"]
    assert "closed the connection in the middle of its answer" in done["reason"]
    model = await daemon.model(NAME)
    assert (model["state"], model["runners"][0]["restarts"]) == ("ready", 0)


async def test_one_that_breaks_off_its_head(daemon: Daemon) -> None:
    """Nothing of an answer has gone out yet, so the caller gets one of ours."""
    daemon.write(process(NAME))
    await daemon.until_state(NAME, "ready")
    status, body, headers = await daemon.job(NAME, "/break?framing=head")
    assert (status, headers["Livepeer-Error"]) == (502, "backend_broke")
    assert "closed the connection in the middle of its headers" in json.loads(body)["message"]
    assert (await daemon.job(NAME))[0] == 200


@pytest.mark.docker
async def test_one_that_leaks_until_it_is_out_of_memory(docked: Start) -> None:
    """Killed by the kernel again and again: parked, and the reason names memory."""
    settings = {"reconcile.failure_limit": "2", "reconcile.backoff_max_s": "0.2"}
    async with docked(settings=settings) as daemon:
        model = await parked(daemon, container(NAME, {"leak_mb_s": 400}, memory="48m"))
        assert model["runners"][0]["detail"].startswith(
            "it was killed because it used more memory than it may (`memory` is "
        )
        assert await daemon.metric("orchd_runner_restarts_total", model_id=NAME, reason="out_of_memory") == 2
