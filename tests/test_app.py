"""The daemon in this process: what ends it is said."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd import tasks
from orchd.advertise.part import AdvertisePart
from orchd.advertise.settings import OrchestratorSettings
from orchd.app import App, Instead
from orchd.cli import daemon
from orchd.control.orders import Asker
from orchd.control.part import ControlPart
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Secret
from orchd.domain.ports import Runtime
from orchd.domain.runtime_id import RuntimeId
from orchd.errors import Code, OrchdError, RunnersLeft
from orchd.health.part import HealthPart
from orchd.node.client import NodeClient
from orchd.part import Roots
from orchd.runtime.part import RuntimesPart
from orchd.runtime.process.marks import Marks
from orchd.settings.tree import Settings
from tests.advertise.rig import until
from tests.fakes.runtime import FakeRuntime
from tests.ports import free_port


class NoRuntimes(RuntimesPart):
    def make(self) -> dict[RuntimeId, Runtime]:
        return {}


def app_with(tmp_path: Path, instead: Instead | None = None, **more: Any) -> App:
    (tmp_path / "aiModels.json").write_text("[]")
    settings = Settings.model_validate(
        {
            "models_file": str(tmp_path / "aiModels.json"),
            "state_dir": str(tmp_path / "state"),
            "jobs": {"listen": f"127.0.0.1:{free_port()}"},
            "admin": {"listen": f"127.0.0.1:{free_port()}"},
            **more,
        }
    )
    return App(settings, {}, {RuntimesPart: NoRuntimes, **(instead or {})})


@pytest.fixture
def app(tmp_path: Path) -> App:
    return app_with(tmp_path)


async def returns() -> None: ...


async def is_cancelled() -> None:
    raise asyncio.CancelledError


async def fails() -> None:
    raise ValueError("bad")


async def refuses() -> None:
    raise OrchdError("cannot do it")


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (returns, "cannot go on: orchd's task 'tidy' ended; "),
        (is_cancelled, "cannot go on: orchd's task 'tidy' was cancelled; "),
        (fails, r"cannot go on: orchd's task 'tidy' failed: ValueError\('bad'\); "),
        (refuses, "cannot do it"),
    ],
)
async def test_a_root_task_that_ends_takes_the_daemon_down_with_words(
    tmp_path: Path, ending: Callable[[], Coroutine[Any, Any, None]], said: str
) -> None:
    """However it ends: not in silence, and not with 0, after which systemd would leave it down."""

    class WithThatTask(HealthPart):
        def roots(self) -> Roots:
            return {"tidy": ending()}

    app = app_with(tmp_path, {HealthPart: WithThatTask})
    with capture_logs() as logs, pytest.raises(OrchdError, match=f"^{said}"):
        async with asyncio.timeout(60):
            await app.run()
    [stopping] = [line for line in logs if line["event"] == "orchd_stopping"]
    assert stopping["why"] == "a part of it has failed"


async def test_what_tells_the_node_may_be_ended_without_ending_the_daemon(tmp_path: Path) -> None:
    """`orchd down` does that before it stops the runners; ended by then, the daemon would leave containers behind."""
    withdrawn = asyncio.Event()

    class Offers(AdvertisePart):
        async def withdraw(self) -> None:
            assert not {"offers", "node"} & {task.get_name() for task in asyncio.all_tasks()}
            withdrawn.set()

    app = app_with(tmp_path, {AdvertisePart: Offers}, orchestrator={"service_url": "https://127.0.0.1:9"})
    running = tasks.spawn(app.run(), name="app")
    await until("it is up", lambda: app.accepting)
    assert {"offers", "node", "loop"} <= {task.get_name() for task in asyncio.all_tasks()}
    lines = app.part(ControlPart).down.run({}, Asker(0))
    await anext(lines)
    getting = tasks.spawn(anext(lines, {}), name="next line")
    await withdrawn.wait()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not running.done()
    async with asyncio.timeout(60):
        await getting
        async for _ in lines:
            pass
        await running


async def test_down_does_not_call_all_gone_what_runs_under_another_state_directory(app: App, tmp_path: Path) -> None:
    key = ModelKey("text-to-image", "a")
    marks = Marks("orchd", tmp_path / "other").environment(RunnerId(key, 0, "0"), 1)
    running = tasks.spawn(app.run(), name="app")
    await until("it is up", lambda: app.accepting)
    other = await asyncio.create_subprocess_exec("sleep", "600", env=os.environ | marks)
    try:
        with pytest.raises(RunnersLeft, match=f"process {other.pid} of {key}, under another state directory"):
            async for _ in app.part(ControlPart).down.run({}, Asker(0)):
                pass
    finally:
        other.kill()
        await other.wait()
    await running


async def test_what_waits_is_told_at_each_stage(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.waiting_for() == "its start, which goes first"
    app.stop("SIGTERM")
    app.stop("SIGINT")
    assert app.stopping
    with capture_logs() as logs:
        await app.run()
    assert [line["why"] for line in logs if line["event"] == "orchd_stopping"] == ["SIGTERM"], "the first that came"
    assert app.waiting_for() == "its connections to be closed"


async def test_a_reload_reads_every_file_of_a_secret_that_the_settings_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are used: by the client of the node, and by what asks for the rate."""
    clients: list[NodeClient] = []

    class Noted(NodeClient):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            clients.append(self)

    monkeypatch.setattr("orchd.node.part.NodeClient", Noted)
    named = [name for name in OrchestratorSettings.model_fields if name.endswith("_file")]
    for name in named:
        (tmp_path / name).write_text("http://one")
    app = app_with(
        tmp_path,
        orchestrator={"service_url": "https://127.0.0.1:9", **{name: str(tmp_path / name) for name in named}},
    )
    running = tasks.spawn(app.run(), name="app")
    with capture_logs() as logs:
        try:
            await until("it is up", lambda: app.accepting)
            for name in named:
                (tmp_path / name).write_text("http://two")
            app.reload()
            applied = "models_file_applied"  # The models file is read behind the secrets.
            await until("all is read again", lambda: [line["event"] for line in logs].count(applied) == 2)
        finally:
            app.stop()
            await running
    assert {line["setting"] for line in logs if line["event"] == "secret_changed"} == {
        f"orchestrator.{n}" for n in named
    }
    assert clients[0].secret == Secret("http://two")


def with_runtime(runtime: Runtime) -> Instead:
    class OneRuntime(RuntimesPart):
        def make(self) -> dict[RuntimeId, Runtime]:
            return {runtime.id: runtime}

    return {RuntimesPart: OneRuntime}


class Untouched(FakeRuntime):
    """Fails the test if anything is asked of it."""

    async def open(self) -> None:
        raise AssertionError("the runtime was opened")


@pytest.mark.parametrize("section", ["jobs", "admin"])
async def test_an_address_that_is_taken_ends_the_start_before_anything_is_touched(tmp_path: Path, section: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        app = app_with(tmp_path, with_runtime(Untouched()), **{section: {"listen": address}})
        with pytest.raises(OrchdError) as refused:
            await app.run()
    assert refused.value.code is Code.ADDRESS_IN_USE
    again = app_with(tmp_path)  # The lock, the database and the other address are free again.
    again.stop()
    await again.run()


@pytest.mark.parametrize("step", ["open", "start"])
async def test_a_start_that_is_cancelled_at_any_part_leaves_nothing_behind(tmp_path: Path, step: str) -> None:
    runtime = with_runtime(FakeRuntime(delay_s=0))
    for number in range(len(app_with(tmp_path)._parts)):
        before = asyncio.all_tasks()
        reached = asyncio.Event()
        app = app_with(tmp_path, runtime)
        part = app._parts[number]
        begin = getattr(part, step)

        async def hangs(begin: Callable[[], Awaitable[None]] = begin, reached: asyncio.Event = reached) -> None:
            await begin()
            reached.set()
            await asyncio.Event().wait()

        setattr(part, step, hangs)
        starting = tasks.spawn(app.run(), name="app")
        await reached.wait()
        await tasks.cancel(starting)
        assert starting.cancelled()
        assert asyncio.all_tasks() == before, part.name
    again = app_with(tmp_path)
    again.stop()
    await again.run()


async def test_two_daemons_live_in_one_process(tmp_path: Path) -> None:
    apps = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        apps.append(app_with(tmp_path / name, with_runtime(FakeRuntime(delay_s=0)), instance=f"t-{name}"))
    running = [tasks.spawn(app.run(), name="app") for app in apps]
    await until("both are up", lambda: all(app.accepting for app in apps))
    apps[0].stop()
    await running[0]
    assert apps[1].accepting
    apps[1].stop()
    await running[1]


def test_an_error_that_nobody_expected_is_logged_and_ends_it_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("bad")

    monkeypatch.setattr(daemon, "_live", broken)
    monkeypatch.setattr(daemon, "raise_open_files", lambda: None)
    monkeypatch.setattr(daemon, "configure_logs", lambda *_, **__: None)
    with capture_logs() as logs, pytest.raises(OrchdError, match=r"^cannot go on: ValueError\('bad'\); this is a bug"):
        daemon.run_daemon(Settings())
    [line] = logs
    assert (line["event"], line["log_level"]) == ("orchd_failed", "critical")
    assert isinstance(line["exc_info"], ValueError)
