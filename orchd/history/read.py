"""Reads what a daemon has kept of what happened: for commands, with and without a daemon. Light: no library.

Everything blocks, and raises StoreError where nothing can be read: in words that name the folder and what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from orchd.database.beside import DATABASE, read_kept
from orchd.database.sql import Row, Sql
from orchd.domain.ids import ModelKey

_PAGE = 500
"""Rows that are looked at in one go for those that are asked for."""
_EVENT = "SELECT id, at, kind, pipeline, model_id, replica, generation, by, why, evidence FROM history_events"

T = TypeVar("T")


class KeptEvent(NamedTuple):
    """One event as it was kept; see `ports.History.note`.

    Attributes:
        id: grows with time. `at`: Unix time, seconds.
        kind: of `ports.Kind`, or a word of a newer orchd.
        key: None = about no model. `replica`: None = about no single runner, and `generation` is empty.
    """

    id: int
    at: float
    kind: str
    key: ModelKey | None
    replica: int | None
    generation: str
    by: str
    why: str
    evidence: str


class FoundEvents(NamedTuple):
    """What was found in one reading.

    Attributes:
        events: oldest first. `more`: there are older ones that were asked for.
        newest_id: of all that were there then, whether asked for or not; 0 = there was none.
    """

    events: list[KeptEvent]
    more: bool
    newest_id: int


class KeptRunner(NamedTuple):
    """In which state a runner was last. `since`: Unix time, seconds."""

    key: ModelKey
    replica: int
    generation: str
    state: str
    since: float
    why: str


class KeptDaemon(NamedTuple):
    """The daemon that ran last, or runs. Times are Unix time, in seconds.

    Attributes:
        alive_at: at most a minute before it really was alive last.
        ended_at: None = it runs, or did not end cleanly.
        why_ended: in plain words; empty = not known.
    """

    version: str
    instance: str
    started_at: float
    alive_at: float
    ended_at: float | None
    why_ended: str = ""


class LastKnown(NamedTuple):
    """What the last daemon knew. `runners`: by model and replica; those of which something was left."""

    daemon: KeptDaemon
    runners: tuple[KeptRunner, ...]


class KeptHistory:
    """What is kept in a state directory. Every call reads the file as it is then.

    Args:
        state_dir: of the daemon; nothing is written there.
    """

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / DATABASE

    def models(self) -> frozenset[ModelKey]:
        """Return the models that something is kept of."""
        union = "SELECT pipeline, model_id FROM history_events UNION SELECT pipeline, model_id FROM history_runners"
        return frozenset(ModelKey(*row) for row in self._read(lambda sql: sql.rows(union)) if row[0])

    def newest(self, most: int, wanted: Callable[[ModelKey | None], bool], since: float = 0.0) -> FoundEvents:
        """Return the newest events.

        Args:
            wanted: of a model; None = what is about no model.
            since: Unix time; older ones are left out.
        """

        def find(sql: Sql) -> FoundEvents:
            found: list[KeptEvent] = []
            before = 1 << 62
            where = f"{_EVENT} WHERE id < ? AND at >= ? ORDER BY id DESC LIMIT ?"
            while len(found) <= most and (page := sql.rows(where, (before, since, _PAGE))):
                found += [event for event in map(_event, page) if wanted(event.key)]
                before = page[-1][0]
            newest = sql.row("SELECT max(id) FROM history_events")
            return FoundEvents(found[:most][::-1], len(found) > most, (newest and newest[0]) or 0)

        return self._read(find)

    def after(self, id: int) -> list[KeptEvent]:
        """Return the events that came after the one with this id, oldest first; all if the file is another one now."""

        def find(sql: Sql) -> list[Row]:
            newest = sql.row("SELECT max(id) FROM history_events")
            known = id if newest is not None and (newest[0] or 0) >= id else 0
            return sql.rows(f"{_EVENT} WHERE id > ? ORDER BY id", (known,))

        return [_event(row) for row in self._read(find)]

    def last_known(self) -> LastKnown | None:
        """Return what the last daemon knew; None = none has run since this is kept."""

        def find(sql: Sql) -> tuple[Row | None, list[Row], Row | None]:
            daemon = sql.row("SELECT version, instance, started_at, alive_at, ended_at FROM history_daemon")
            runners = sql.rows(
                "SELECT pipeline, model_id, replica, generation, state, since, why FROM history_runners"
                " ORDER BY pipeline, model_id, replica, since"
            )
            why = sql.row(
                "SELECT why FROM history_events WHERE pipeline = '' AND model_id = '' AND kind = 'daemon_ending'"
                " AND at >= ? ORDER BY id DESC LIMIT 1",
                (daemon[2] if daemon else 0,),
            )
            return daemon, runners, why

        daemon, runners, why = self._read(find)
        if daemon is None:
            return None
        known = tuple(KeptRunner(ModelKey(row[0], row[1]), *row[2:]) for row in runners)
        version, instance, started_at, alive_at, ended_at = daemon
        why_ended = why[0] if why is not None else ""
        return LastKnown(KeptDaemon(version, instance, started_at, alive_at, ended_at, why_ended), known)

    def _read(self, work: Callable[[Sql], T]) -> T:
        return read_kept(
            self._path,
            work,
            table="history_events",
            cannot="cannot find out what happened",
            without="is of an orchd that did not keep it yet; it is kept from the first start of this version on that "
            "state directory",
        )


def _event(row: Row) -> KeptEvent:
    id, at, kind, pipeline, model_id, *rest = row
    return KeptEvent(id, at, kind, ModelKey(pipeline, model_id) if pipeline or model_id else None, *rest)
