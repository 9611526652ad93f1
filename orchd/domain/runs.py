"""Runs of a runner that have ended, and what of a runner's log is asked for. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchd.domain.ids import RunnerId


@dataclass(frozen=True, slots=True)
class EndedRun:
    """One run of a runner, from its start to its end.

    Attributes:
        ended_at: Unix time, seconds.
        how: it ended, and why, in words for a person.
    """

    runner: RunnerId
    ended_at: float
    how: str


@dataclass(frozen=True, slots=True)
class KeptRun:
    """A run whose log is kept.

    Attributes:
        number: grows from run to run of a replica.
        log_at: byte of `file` where the log begins.
    """

    run: EndedRun
    number: int
    file: str
    log_at: int


@dataclass(frozen=True, slots=True)
class LogView:
    """Which part of a log is asked for.

    Attributes:
        tail: its last lines; None = all that there is.
        since: Unix time; None = from its beginning. Lines of a process bear no times, so it does not count there.
        follow: go on with what comes, until the run ends.
    """

    tail: int | None = None
    since: float | None = None
    follow: bool = False
