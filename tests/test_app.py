"""The daemon in this process: what ends it is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd import tasks
from orchd.app import App, Edges
from orchd.cli import run
from orchd.domain.model import RunnerKind
from orchd.domain.ports import Runtime
from orchd.errors import OrchdError
from orchd.metrics import Metrics
from orchd.settings import Settings
from tests.e2e.daemon import free_port


class NoRuntimes(Edges):
    def runtimes(self, settings: Settings, state_dir: Path, metrics: Metrics) -> dict[RunnerKind, Runtime]:
        return {}


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "aiModels.json").write_text("[]")
    settings = Settings.model_validate(
        {
            "models_file": str(tmp_path / "aiModels.json"),
            "state_dir": str(tmp_path / "state"),
            "jobs": {"listen": f"127.0.0.1:{free_port()}"},
            "admin": {"listen": f"127.0.0.1:{free_port()}"},
        }
    )
    return App(settings, {}, NoRuntimes())


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
    app: App, ending: Callable[[], Coroutine[Any, Any, None]], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it ends: not in silence, and not with 0, after which systemd would leave it down."""
    monkeypatch.setattr(app, "_tidy", ending)
    with capture_logs() as logs, pytest.raises(OrchdError, match=f"^{said}"):
        async with asyncio.timeout(60):
            await app.run()
    [stopping] = [line for line in logs if line["event"] == "orchd_stopping"]
    assert stopping["why"] == "a part of it has failed"


async def test_what_tells_the_node_may_be_ended_without_ending_the_daemon(app: App) -> None:
    """`orchd down` does that before it stops the runners; ended by then, the daemon would leave containers behind."""
    telling, other = (tasks.spawn(asyncio.Event().wait(), name=name) for name in ("offers", "loop"))
    app._telling = [telling]
    live = tasks.spawn(app._live([telling, other]), name="live")
    await asyncio.sleep(0)
    await tasks.cancel(telling)
    for _ in range(5):
        await asyncio.sleep(0)
    assert not live.done()
    app.stop("orchd down")
    async with asyncio.timeout(60):
        await live
    await tasks.cancel(other)


async def test_what_waits_is_told_at_each_stage(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    assert app.waiting_for() == "its start, which goes first"
    app.stop("SIGTERM")
    app.stop("SIGINT")
    assert app.stopping
    with capture_logs() as logs:
        await app.run()
    assert [line["why"] for line in logs if line["event"] == "orchd_stopping"] == ["SIGTERM"], "the first that came"
    assert app.waiting_for() == "its connections to be closed"


def test_an_error_that_nobody_expected_is_logged_and_ends_it_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise ValueError("bad")

    monkeypatch.setattr(run, "_live", broken)
    monkeypatch.setattr(run, "raise_open_files", lambda: None)
    monkeypatch.setattr(run, "configure_logs", lambda *_, **__: None)
    with capture_logs() as logs, pytest.raises(OrchdError, match=r"^cannot go on: ValueError\('bad'\); this is a bug"):
        run.run_daemon(Settings())
    [line] = logs
    assert (line["event"], line["log_level"]) == ("orchd_failed", "critical")
    assert isinstance(line["exc_info"], ValueError)
