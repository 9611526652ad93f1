"""What is kept of what happened: events, the last state of every runner, and the daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from orchd.database.sql import Sql
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.redact import scrub, secrets_of
from orchd.history.buffer import Event, EventBatch, Lost, Stand
from orchd.history.ports import Kind

Secrets = Callable[[Model | None], frozenset[str]]

OF_MODEL = 200
"""Events kept per model: the last 60 or so crashes of one that keeps crashing. One model's can't push out another's."""
OF_ORCHD = 1_000
"""Events kept that are about no model: edits, the node, runtimes, starts and stops."""
IN_ALL = 20_000
"""Events kept in all: 100 models with all of theirs. 6 MiB as they usually are; 40 MiB if all texts are the longest."""
DROPPED_TOGETHER = 400
"""Most events that one transaction drops, so that it stays short."""
TEXT_CHARS = 500
"""How much is kept of each text."""


def newest_id(sql: Sql) -> int:
    """Return the id of the newest event; 0 = there is none."""
    row = sql.row("SELECT max(id) FROM history_events")
    return int(row[0] or 0) if row else 0


def begin(sql: Sql, version: str, instance: str, now: float) -> tuple[float, float | None] | None:
    """Note that a daemon has started; forget what the one before knew of its runners.

    Returns:
        When the daemon before was last alive, and when it ended (None = not cleanly). None = there was none.
    """
    before = sql.row("SELECT alive_at, ended_at FROM history_daemon")
    sql.change("DELETE FROM history_runners")
    sql.change(
        "INSERT OR REPLACE INTO history_daemon (id, version, instance, started_at, alive_at, ended_at)"
        " VALUES (1, ?, ?, ?, ?, NULL)",
        (version, instance, now, now),
    )
    return (before[0], before[1]) if before else None


def write(sql: Sql, batch: EventBatch, now: float, *, ended: bool = False) -> None:
    """Write a batch and drop what is over the bounds. A batch that was written before is left as it is.

    Args:
        now: Unix time; the daemon is alive.
        ended: it is about to end, cleanly.
    """
    secrets = _secrets()
    sql.change("UPDATE history_daemon SET alive_at = ?, ended_at = ?", (now, now if ended else None))
    if batch.stands:
        gone = [_place(runner) for runner, stand in batch.stands.items() if stand is None]
        sql.change_all(
            "DELETE FROM history_runners WHERE pipeline = ? AND model_id = ? AND replica = ? AND generation = ?", gone
        )
        sql.change_all(
            "INSERT OR REPLACE INTO history_runners (pipeline, model_id, replica, generation, state, since, why)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            [_stand_row(runner, stand, secrets) for runner, stand in batch.stands.items() if stand is not None],
        )
    if batch.events or batch.lost:
        sql.change_all(
            "INSERT OR IGNORE INTO history_events"
            " (id, at, kind, pipeline, model_id, replica, generation, by, why, evidence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [_event_row(event, secrets) for event in (*_told(batch.lost), *batch.events)],
        )
        drop_oldest(sql, {event.key for event in batch.events} | {None})


def drop_oldest(
    sql: Sql, keys: Iterable[ModelKey | None], of_model: int = OF_MODEL, of_orchd: int = OF_ORCHD, in_all: int = IN_ALL
) -> None:
    """Drop the oldest events of these models that are over the bound of each, and those over the bound of all."""
    sql.change_all(
        "DELETE FROM history_events WHERE pipeline = ? AND model_id = ? AND id <= (SELECT id FROM history_events"
        " WHERE pipeline = ? AND model_id = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
        [(*2 * tuple(key or ("", "")), of_model if key else of_orchd) for key in keys],
    )
    sql.change(
        "DELETE FROM history_events WHERE id IN (SELECT id FROM history_events ORDER BY id"
        " LIMIT min(?, max(0, (SELECT count(*) FROM history_events) - ?)))",
        (DROPPED_TOGETHER, in_all),
    )


def _told(lost: Lost | None) -> Iterable[Event]:
    if lost is None:
        return ()
    said = f"{lost.count} events before this one are not kept: the disk of the state directory was full or too slow"
    return (Event(lost.id, lost.at, Kind.EVENTS_LOST, None, None, "", "", said, ""),)


def _event_row(event: Event, secrets: Secrets) -> tuple[str | int | float | None, ...]:
    pipeline, model_id = event.key or ("", "")
    texts = (_kept(text, secrets(event.model)) for text in (event.why, event.evidence))
    return event.id, event.at, str(event.kind), pipeline, model_id, event.replica, event.generation, event.by, *texts


def _stand_row(runner: RunnerId, stand: Stand, secrets: Secrets) -> tuple[str | int | float, ...]:
    return *_place(runner), stand.state, stand.since, _kept(stand.why, secrets(stand.model))


def _secrets() -> Secrets:
    """Return what returns the secrets of a model, each looked for once: hundreds of events may be of few models."""
    known: dict[int, frozenset[str]] = {id(None): frozenset()}

    def of(model: Model | None) -> frozenset[str]:
        if (found := known.get(id(model))) is None:
            assert model is not None
            found = known[id(model)] = secrets_of(model)
        return found

    return of


def _place(runner: RunnerId) -> tuple[str, str, int, str]:
    return *runner.key, runner.replica, runner.generation


def _kept(text: str, secrets: frozenset[str]) -> str:
    text = scrub(text, secrets)
    return text if len(text) <= TEXT_CHARS else text[: TEXT_CHARS - 1] + "…"
