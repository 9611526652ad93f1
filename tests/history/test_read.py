"""What commands read of it, with and without a daemon, and what they say where there is nothing to read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchd import __version__
from orchd.errors import StoreError
from orchd.history.ports import Kind
from orchd.history.read import KeptHistory
from tests.database.parts import opened_own
from tests.history.kept import KEY, OTHER, RUNNER, history, kept_in


async def test_the_newest_that_are_asked_for_are_found_behind_many_others(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as part:
        for number in range(3):
            part.note(Kind.READY, str(number), about=RUNNER)
        for _ in range(900):
            part.note(Kind.NODE_UP, "")
    found = KeptHistory(tmp_path).newest(2, lambda key: key == KEY)
    assert ([event.why for event in found.events], found.more) == (["1", "2"], True)
    found = KeptHistory(tmp_path).newest(3, lambda key: key == KEY)
    assert ([event.why for event in found.events], found.more) == (["0", "1", "2"], False)
    assert KeptHistory(tmp_path).newest(9, lambda key: key == KEY, since=4e9).events == []


async def test_what_comes_after_an_event_is_found_and_all_of_it_in_another_file(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as part:
        part.note(Kind.READY, "", about=RUNNER)
    kept = KeptHistory(tmp_path)
    first, second = kept.after(0)
    assert kept.after(first.id) == [second]
    assert kept.after(second.id) == []
    assert kept.after(second.id + 1) == [first, second], "the database was removed, and ids begin again"


async def test_the_last_state_of_every_runner_is_known_after_the_end(tmp_path: Path) -> None:
    gone, cold = RUNNER._replace(replica=1), RUNNER._replace(key=OTHER)
    async with kept_in(tmp_path) as part:
        for runner in (RUNNER, gone, cold):
            part.stands(runner, "cold", "")
        part.stands(RUNNER, "ready", "health is ready")
        part.gone(gone)
        part.note(Kind.DAEMON_ENDING, "SIGTERM")
    known = KeptHistory(tmp_path).last_known()
    assert known is not None
    assert [(runner.key, runner.state, runner.why) for runner in known.runners] == [
        (OTHER, "cold", ""),
        (KEY, "ready", "health is ready"),
    ]
    daemon = known.daemon
    assert (daemon.version, daemon.instance, daemon.why_ended) == (__version__, "t", "SIGTERM")
    assert daemon.ended_at is not None
    assert daemon.started_at <= daemon.alive_at <= daemon.ended_at
    assert KeptHistory(tmp_path).models() == {KEY, OTHER}


async def test_a_daemon_that_was_killed_is_not_taken_for_one_that_ended(tmp_path: Path) -> None:
    async with opened_own(tmp_path) as database, history(database) as part:
        part.stands(RUNNER, "ready", "health is ready")
        known = KeptHistory(tmp_path).last_known()
        assert known is not None
        assert known.daemon.ended_at is None
    async with opened_own(tmp_path) as database:
        await database.transaction(lambda sql: sql.change("UPDATE history_daemon SET ended_at = NULL"))
        async with history(database):
            pass
    started = KeptHistory(tmp_path).newest(1, lambda _: True).events[-1]
    assert "the one before did not end cleanly, and was last alive at 20" in started.why


async def test_a_new_daemon_does_not_know_what_the_one_before_knew_of_runners(tmp_path: Path) -> None:
    async with kept_in(tmp_path) as part:
        part.stands(RUNNER, "ready", "health is ready")
    async with kept_in(tmp_path):
        pass
    known = KeptHistory(tmp_path).last_known()
    assert known is not None
    assert known.runners == ()


def test_a_folder_without_a_database_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=rf"^cannot find out what happened: there is no orchd.db in {tmp_path}, so no"):
        KeptHistory(tmp_path).models()
    assert list(tmp_path.iterdir()) == [], "nothing is made"


def test_a_file_of_before_is_told_from_one_without_events(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "orchd.db")) as db, db:
        db.execute("CREATE TABLE models (x)")
    with pytest.raises(StoreError, match=r"^cannot find out what happened: .* is of an orchd that did not keep it yet"):
        KeptHistory(tmp_path).newest(1, lambda _: True)


def test_a_file_that_is_no_database_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "orchd.db").write_text("not a database" * 100)
    with pytest.raises(StoreError, match=r"^cannot "):
        KeptHistory(tmp_path).models()
