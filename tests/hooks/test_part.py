"""The life of hooks: opened in their order, their root tasks run, closed in reverse, however the daemon ends."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Coroutine, Mapping
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd import tasks
from orchd.app import App
from orchd.errors import Code, HookError, OrchdError
from orchd.exposition import MetricsRegistry
from orchd.hooks import part as hooks_part
from orchd.hooks.hook import HookHost, HookOptions, JobHook
from orchd.hooks.part import HooksPart
from orchd.hooks.settings import BUILT_IN
from orchd.lag import LoopLag
from orchd.names import Names
from orchd.settings.section import FreeTable
from orchd.settings.tree import Settings
from orchd.tickets.built_in import BuiltInHooks
from tests.advertise.rig import until
from tests.database.parts import backups, opened_own
from tests.test_app import app_with

TABLES = [
    ["CREATE TABLE noting_first (a INTEGER) STRICT", "INSERT INTO noting_first VALUES (1)"],
    ["ALTER TABLE noting_first ADD COLUMN b TEXT", "UPDATE noting_first SET b = 'x'"],
]


class Noting(JobHook):
    """Notes what happens to it. Attributes:
    told: by all hooks of a test, in order.
    """

    def __init__(self, name: str, told: list[str], fails: str = "", error: BaseException | None = None) -> None:
        super().__init__(HookOptions())
        self.name, self.told, self.fails, self.error = name, told, fails, error
        self.host: HookHost | None = None

    def _note(self, what: str) -> None:
        self.told.append(f"{what} {self.name}")
        if self.fails == what:
            raise self.error or ValueError(f"{what} does not work")

    async def open(self, host: HookHost) -> None:
        self.host = host
        self._note("open")
        if self.fails == "hang":
            await asyncio.Event().wait()

    def roots(self) -> Mapping[str, Coroutine[Any, Any, object]]:
        self._note("roots")
        return {"work": self._work()}

    async def _work(self) -> None:
        if self.fails == "work":
            raise self.error or ValueError("the work does not work")
        if self.fails == "end":
            return
        try:
            await asyncio.Event().wait()
        finally:
            self.told.append(f"cancelled {self.name}")

    async def close(self) -> None:
        self._note("close")


def app_of(tmp_path: Path, *hooks: JobHook) -> App:
    class Own(HooksPart):
        def load(self) -> list[tuple[str, JobHook]]:
            return [(getattr(hook, "name", "x"), hook) for hook in hooks]

    return app_with(tmp_path, {HooksPart: Own})


async def test_hooks_open_in_order_run_and_close_in_reverse(tmp_path: Path) -> None:
    told: list[str] = []
    a, b = Noting("a", told), Noting("b", told)
    app = app_of(tmp_path, a, b)
    running = tasks.spawn(app.run(), name="app")
    await until("it is up", lambda: app.accepting)
    assert told == ["open a", "open b", "roots a", "roots b"]
    assert {"work of hook a", "work of hook b"} <= {task.get_name() for task in asyncio.all_tasks()}
    assert a.host is not None
    assert (a.host.name, a.host.instance, a.host.state_dir) == ("a", "orchd", tmp_path / "state")
    app.stop()
    await running
    assert sorted(told[4:6]) == ["cancelled a", "cancelled b"]
    assert told[6:] == ["close b", "close a"]


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("work", r"^cannot go on: orchd's task 'work of hook b' failed: ValueError\('the work does not work'\); "),
        ("end", "^cannot go on: orchd's task 'work of hook b' ended; "),
        ("roots", "^cannot start the tasks of the hook b: ValueError: roots does not work"),
    ],
)
async def test_a_root_task_of_a_hook_that_ends_takes_the_daemon_down(tmp_path: Path, fails: str, said: str) -> None:
    told: list[str] = []
    app = app_of(tmp_path, Noting("a", told), Noting("b", told, fails))
    with pytest.raises(OrchdError, match=said):
        async with asyncio.timeout(60):
            await app.run()
    assert told[-2:] == ["close b", "close a"]


async def test_a_hook_that_does_not_open_keeps_the_daemon_from_starting(tmp_path: Path) -> None:
    told: list[str] = []
    hooks = [Noting("a", told), Noting("b", told, "open"), Noting("c", told)]
    with pytest.raises(HookError, match="cannot open the hook b: it failed with ValueError: open does not") as caught:
        await app_of(tmp_path, *hooks).run()
    assert caught.value.code is Code.HOOK_INVALID
    assert told == ["open a", "open b", "close b", "close a"]


@pytest.mark.parametrize("fails", ["open", "roots", "work"])
@pytest.mark.parametrize("error", [SystemExit(3), asyncio.CancelledError()], ids=["exit", "cancelled"])
async def test_a_hook_that_would_end_the_daemon_without_a_word_fails_like_any_other(
    tmp_path: Path, fails: str, error: BaseException
) -> None:
    """`sys.exit`, and a CancelledError of what the hook waited for."""
    told: list[str] = []
    with pytest.raises(OrchdError, match="cannot"):
        async with asyncio.timeout(60):
            await app_of(tmp_path, Noting("a", told), Noting("b", told, fails, error)).run()
    assert told[-2:] == ["close b", "close a"]


async def test_a_task_that_is_none_is_told_with_its_hook(tmp_path: Path) -> None:
    class Odd(Noting):
        def roots(self) -> Mapping[str, Coroutine[Any, Any, object]]:
            return {**super().roots(), "beat": 5}  # type: ignore[dict-item]

    with pytest.raises(HookError, match="the tasks of the hook a: TypeError: the task beat is a int, not a coroutine"):
        await app_of(tmp_path, Odd("a", [])).run()


async def test_a_hook_that_hangs_while_it_opens_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_part, "OPEN_TIMEOUT_S", 0.01)
    with pytest.raises(HookError, match=r"cannot open the hook a: it was not open after 0\.01 s; see what it"):
        await app_of(tmp_path, Noting("a", [], "hang")).run()


async def test_a_root_task_that_does_not_end_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Flushing(Noting):
        async def _work(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.Event().wait()  # As a flush to a server that is gone.

    monkeypatch.setattr(hooks_part, "CLOSE_TIMEOUT_S", 0.01)
    told: list[str] = []
    app = app_of(tmp_path, Noting("a", told), Flushing("b", told))
    running = tasks.spawn(app.run(), name="app")
    await until("it is up", lambda: app.accepting)
    with capture_logs() as logs:
        app.stop()
        async with asyncio.timeout(60):
            await running
    assert told[-2:] == ["close b", "close a"]
    assert [line["task"] for line in logs if line["event"] == "hook_not_closed"] == ["work of hook b"]


@pytest.mark.parametrize("error", [None, asyncio.CancelledError(), SystemExit(3)])
async def test_a_hook_that_does_not_close_keeps_no_other_one_from_closing(
    tmp_path: Path, error: BaseException | None
) -> None:
    told: list[str] = []
    app = app_of(tmp_path, Noting("a", told), Noting("b", told, "close", error))
    running = tasks.spawn(app.run(), name="app")
    await until("it is up", lambda: app.accepting)
    with capture_logs() as logs:
        app.stop()
        await running
    assert told[-2:] == ["close b", "close a"]
    assert [line["hook"] for line in logs if line["event"] == "hook_not_closed"] == ["b"]


# Which takes payment.


class Taking(Noting):
    takes_payment = True


async def test_the_hook_that_takes_payment_is_asked_last_whatever_its_place() -> None:
    part = a_part(None, Noting("a", []), Taking("b", []), Noting("c", []))
    await part.open()
    assert part.names == ("a", "c", "b")


async def test_two_hooks_that_take_payment_keep_the_daemon_from_starting() -> None:
    with pytest.raises(HookError, match="b and c take payment") as caught:
        await a_part(None, Noting("a", []), Taking("b", []), Taking("c", [])).open()
    assert caught.value.code is Code.HOOK_INVALID


# Tables.


def with_tables(steps: list[list[str]], name: str = "noting") -> JobHook:
    hook = Noting(name, [])
    hook.migrations = steps  # type: ignore[misc]
    return hook


async def opened(folder: Path, hook: JobHook) -> list[tuple[Any, ...]]:
    """Open this hook over the database of `folder`, and return what its table holds."""
    async with opened_own(folder) as database:
        part = a_part(database, hook)
        try:
            await part.open()
            return await database.read(lambda sql: sql.rows("SELECT * FROM noting_first"))
        finally:
            await part.close()


def a_part(database: Any, *hooks: JobHook, **settings: Any) -> HooksPart:
    class Own(HooksPart):
        def load(self) -> list[tuple[str, JobHook]]:
            return [(getattr(hook, "name", "noting"), hook) for hook in hooks] if hooks else super().load()

    context = SimpleNamespace(
        settings=Settings.model_validate(settings),
        state_dir=Path("/nowhere"),
        lag=LoopLag(),
        env={},
        metrics=MetricsRegistry(),
    )
    return Own(context, SimpleNamespace(database=database), BuiltInHooks(context, None))  # type: ignore[arg-type]


async def test_tables_of_a_hook_are_made_once_step_by_step(tmp_path: Path) -> None:
    assert await opened(tmp_path, with_tables(TABLES[:1])) == [(1,)]
    assert await opened(tmp_path, with_tables(TABLES[:1])) == [(1,)]
    assert await opened(tmp_path, with_tables(TABLES)) == [(1, "x")]
    assert await opened(tmp_path, with_tables(TABLES)) == [(1, "x")]


async def test_tables_of_a_later_version_of_a_hook_are_not_touched(tmp_path: Path) -> None:
    await opened(tmp_path, with_tables(TABLES))
    with pytest.raises(HookError, match="its tables are at step 2, and this version of it knows 1; install the later"):
        await opened(tmp_path, with_tables(TABLES[:1]))


async def test_the_database_is_backed_up_before_the_tables_of_a_hook_change(tmp_path: Path) -> None:
    await opened(tmp_path, with_tables(TABLES[:1]))
    await opened(tmp_path, with_tables(TABLES[:1]))
    assert backups(tmp_path) == [], "there was nothing of it before, or nothing has changed"
    await opened(tmp_path, with_tables(TABLES))
    (backup,) = backups(tmp_path)
    assert backup.name == "orchd.db.hook-noting-step-1.bak"
    with closing(sqlite3.connect(backup)) as db:
        assert db.execute("SELECT * FROM noting_first").fetchall() == [(1,)]
        assert db.execute("SELECT count(*) FROM hook_migrations").fetchall() == [(1,)]


async def test_without_its_backup_no_table_of_a_hook_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    await opened(tmp_path, with_tables(TABLES[:1]))

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(HookError, match=r"cannot open the hook noting: cannot back up the database .*-step-1\.bak"):
        await opened(tmp_path, with_tables(TABLES))
    monkeypatch.undo()
    assert await opened(tmp_path, with_tables(TABLES[:1])) == [(1,)]


async def test_a_step_that_always_fails_does_not_fill_the_disk_with_backups(tmp_path: Path) -> None:
    await opened(tmp_path, with_tables(TABLES[:1]))
    for _ in range(2):
        with pytest.raises(HookError, match="cannot open the hook noting: cannot use the database"):
            await opened(tmp_path, with_tables([TABLES[0], [*TABLES[1], "no SQL at all"]]))
    assert backups(tmp_path) == []
    assert await opened(tmp_path, with_tables(TABLES)) == [(1, "x")]


async def test_a_step_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(HookError, match="cannot open the hook noting: cannot use the database"):
        await opened(tmp_path, with_tables([[*TABLES[0], "no SQL at all"]]))
    assert await opened(tmp_path, with_tables(TABLES)) == [(1, "x")]


# What is built in.


async def test_without_a_node_the_default_order_asks_nobody() -> None:
    part = a_part(None)
    await part.open()
    calls = part.calls
    flags = calls.arriving, calls.identifying, calls.admitting, calls.charging, calls.settling, calls.accounting
    assert not any(flags)


@pytest.mark.parametrize("name", BUILT_IN)
def test_what_the_settings_call_built_in_is(name: str) -> None:
    context = SimpleNamespace(settings=Settings(), env={}, names=Names())
    options = {"webhook": {"url": "http://127.0.0.1:1/"}}.get(name, {})
    node, tickets = SimpleNamespace(tokens=None), SimpleNamespace(payments=None, sessions=None, live_runner=None)
    made = BuiltInHooks(context, node, tickets)  # type: ignore[arg-type]
    hook = made.hook(name, FreeTable(options, "orchd.toml:1", {}))
    assert hook is not None
    assert hook.takes_payment == (name == "tickets")


def test_without_a_node_the_nodes_token_has_nothing_to_do() -> None:
    assert BuiltInHooks(SimpleNamespace(settings=Settings()), None).hook("node-token") is None  # type: ignore[arg-type]


def test_a_hook_that_is_not_built_in_can_not_be_made() -> None:
    with pytest.raises(ValueError, match="it is not built in"):
        BuiltInHooks(SimpleNamespace(settings=Settings()), None).hook("other")  # type: ignore[arg-type]


async def test_who_leaves_the_nodes_token_out_beside_a_node_is_warned() -> None:
    url = {"service_url": "https://127.0.0.1:8935"}
    for order, warned in (((), 1), (("node-token",), 0)):
        with capture_logs() as logs:
            await a_part(None, orchestrator=url, hooks={"order": order}).open()
        assert [line["event"] for line in logs].count("node_token_not_asked") == warned
