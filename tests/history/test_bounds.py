"""What waits and what is kept is bounded, the oldest goes first, and what is lost is counted."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchd.database.migrations import find_migrations
from orchd.database.sql import Sql, Value
from orchd.domain.ids import ModelKey, RunnerId
from orchd.history import part as part_module
from orchd.history import tables
from orchd.history.buffer import MOST_TOGETHER, Buffer, Event, EventBatch, Stand
from orchd.history.ports import Kind
from orchd.history.read import KeptHistory
from tests.advertise.rig import until
from tests.conftest import fill
from tests.database.parts import opened_own
from tests.history.kept import RUNNER, history

KEYS = [None, *(ModelKey("llm", name) for name in "abc")]


def event(id: int, key: ModelKey | None = None, why: str = "") -> Event:
    return Event(id, float(id), Kind.READY, key, None, "", "", why, "")


# -- in memory ---------------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.one_of(st.tuples(st.just("add"), st.integers(1, 8)), st.sampled_from(["take", "written", "failed"]))
)


@given(STEPS)
def test_every_event_is_written_waits_or_is_counted_as_lost(steps: list[Any]) -> None:
    most, together = 5, 3
    buffer, ids = Buffer(most), count(1)
    added, written, lost = 0, list[int](), 0
    in_flight: EventBatch | None = None

    def settle(batch: EventBatch) -> None:
        nonlocal lost
        written.extend(each.id for each in batch.events)
        lost += batch.lost.count if batch.lost else 0

    for step in steps:
        if isinstance(step, tuple):
            for _ in range(step[1]):
                added += 1
                buffer.add(event(next(ids)))
        elif step == "take" and in_flight is None:
            in_flight = buffer.take(together)
            assert len(in_flight.events) <= together
        elif step == "written" and in_flight is not None:
            settle(in_flight)
            in_flight = None
        elif step == "failed" and in_flight is not None:
            buffer.put_back(in_flight)
            in_flight = None
        assert len(buffer) <= most
    if in_flight is not None:
        buffer.put_back(in_flight)
    while buffer:
        settle(buffer.take(together))
    assert written == sorted(set(written)), "in their order, and none twice"
    assert len(written) + lost == added


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["cold", "ready", None]), st.booleans())))
def test_of_each_runner_the_newest_state_is_written(steps: list[tuple[int, str | None, bool]]) -> None:
    buffer, kept, last = Buffer(), dict[RunnerId, Stand | None](), dict[RunnerId, Stand | None]()
    for replica, state, fails in steps:
        runner = RUNNER._replace(replica=replica)
        last[runner] = Stand(state, 0.0, "") if state else None
        batch = buffer.take(2)
        buffer.stand(runner, last[runner])  # While the batch is on its way.
        if fails:
            buffer.put_back(batch)
        else:
            kept |= batch.stands
    while buffer:
        kept |= buffer.take(2).stands
    assert kept == last


# -- in the store ------------------------------------------------------------------------------------------------------


class CountingSql(Sql):
    """Counts statements, however many rows each has."""

    def __init__(self, db: sqlite3.Connection) -> None:
        super().__init__(db)
        self.statements = 0

    def rows(self, statement: str, values: Sequence[Value] = ()) -> list[Any]:
        self.statements += 1
        return super().rows(statement, values)

    def change(self, statement: str, values: Sequence[Value] = ()) -> int:
        self.statements += 1
        return super().change(statement, values)

    def change_all(self, statement: str, rows: Iterable[Sequence[Value]]) -> int:
        self.statements += 1
        return super().change_all(statement, rows)


@contextmanager
def empty() -> Iterator[CountingSql]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        for step in find_migrations()["history"]:
            db.executescript(step.script)
        yield CountingSql(db)


@given(st.lists(st.lists(st.sampled_from(KEYS), max_size=30), max_size=8))
def test_of_each_model_and_in_all_the_newest_are_kept(batches: list[list[ModelKey | None]]) -> None:
    of_model, of_orchd, in_all = 4, 6, 9
    ids = count(1)
    kept: dict[ModelKey | None, list[int]] = defaultdict(list)
    with empty() as sql:
        for keys in batches:
            events = tuple(event(next(ids), key) for key in keys)
            tables.write(sql, EventBatch(events), 0.0)
            tables.drop_oldest(sql, set(keys), of_model, of_orchd, in_all)
            for each in events:
                kept[each.key].append(each.id)
            for key, mine in kept.items():
                del mine[: max(0, len(mine) - (of_model if key else of_orchd))]
            newest = sorted(id for mine in kept.values() for id in mine)[-in_all:]
            kept = defaultdict(list, {key: [id for id in mine if id in newest] for key, mine in kept.items()})
            assert [row[0] for row in sql.rows("SELECT id FROM history_events ORDER BY id")] == newest


def test_a_batch_that_is_written_again_changes_nothing() -> None:
    with empty() as sql:
        batch = EventBatch((event(1, KEYS[1], "first"), event(2)), {RUNNER: Stand("ready", 1.0, "")})
        tables.write(sql, batch, 0.0)
        before = sql.rows("SELECT * FROM history_events"), sql.rows("SELECT * FROM history_runners")
        tables.write(sql, batch, 0.0)
        assert (sql.rows("SELECT * FROM history_events"), sql.rows("SELECT * FROM history_runners")) == before


@pytest.mark.parametrize("models", [1, 1000])
def test_what_a_transaction_costs_does_not_grow_with_the_models_that_flap(models: int) -> None:
    """Statements, and how much one transaction holds: others wait for it."""
    buffer, ids = Buffer(), count(1)
    for _ in range(3):
        for number in range(models):
            key = ModelKey("llm", str(number))
            buffer.stand(RUNNER._replace(key=key), Stand("ready", 0.0, ""))
            for _ in range(3):
                buffer.add(event(next(ids), key))
    transactions = 0
    with empty() as sql:
        while buffer:
            sql.statements = 0
            batch = buffer.take()
            assert len(batch.events) <= MOST_TOGETHER
            assert len(batch.stands) <= MOST_TOGETHER
            tables.write(sql, batch, 0.0)
            transactions += 1
            assert sql.statements <= 6
    assert transactions == -(-9 * models // MOST_TOGETHER), "all that waits goes together"


# -- on a disk that has no room ----------------------------------------------------------------------------------------


async def test_on_a_full_disk_events_wait_and_the_oldest_are_lost_and_counted(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(part_module, "RETRY_S", 0.01)
    async with opened_own(small_disk) as database, history(database) as part:
        monkeypatch.setattr(part._buffer, "_most", 20)
        part.note(Kind.READY, "before", about=RUNNER)
        kept = KeptHistory(small_disk)
        await until("it is written", lambda: "before" in [each.why for each in kept.after(0)])
        filler = fill(small_disk)
        with capture_logs() as logs:
            for number in range(100):
                part.note(Kind.FAILED, f"{number} " + "x" * 400, about=RUNNER)
            await until("it is known that there is no room", lambda: logs)
            assert "no space is left on its disk" in logs[0]["reason"]
            for number in range(100, 110):
                part.note(Kind.FAILED, f"{number} " + "x" * 400, about=RUNNER)
        filler.unlink()
        await until("all is written", lambda: kept.after(0)[-1].why.startswith("109 "))
    told = kept.after(0)
    failed = [int(each.why.partition(" ")[0]) for each in told if each.kind == Kind.FAILED]
    lost = [int(each.why.partition(" ")[0]) for each in told if each.kind == Kind.EVENTS_LOST]
    assert failed == list(range(110 - len(failed), 110)), "the newest, in order"
    assert sum(lost) == 110 - len(failed)
