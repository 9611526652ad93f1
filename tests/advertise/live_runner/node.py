"""A tiny Live Runner registry with a clock of its own: what `plan` has to cope with.

The real wire, with sockets, is that of `tests.doubles.golivepeer`. Source: docs/protocol/live-runner.md, 2.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

from orchd.advertise.live_runner.plan import RunnerRecord

TTL_S = 20.0
SWEEP_S = 5.0
BOOTSTRAP = "s3cret"


class Said(NamedTuple):
    """An answer; `secret` only to the first heartbeat."""

    status: int
    text: str = ""
    secret: str = ""
    sessions: frozenset[str] = frozenset()


@dataclass
class Runner:
    secret: str
    record: RunnerRecord
    seen_at: float
    sessions: set[str] = field(default_factory=set)


class TinyNode:
    """`refuses` makes it answer 400 to all heartbeats."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runners: dict[str, Runner] = {}
        self.refuses = False
        self._numbers = itertools.count(1)

    def advance(self, seconds: float) -> None:
        before, self.now = self.now, self.now + seconds
        if before // SWEEP_S != self.now // SWEEP_S:
            for name in [name for name, runner in self.runners.items() if self._expired(runner)]:
                del self.runners[name]

    def restart(self) -> None:
        self.runners.clear()

    def reserve(self, name: str) -> str | None:
        """Return the new session, None if there is no free slot."""
        runner = self.runners.get(name)
        if runner is None or self._expired(runner) or len(runner.sessions) >= runner.record.capacity:
            return None
        session = f"session_{next(self._numbers)}"
        runner.sessions.add(session)
        return session

    def heartbeat(self, name: str, record: RunnerRecord, secret: str) -> Said:
        if self.refuses:
            return Said(400, "no such price")
        runner, fresh = self.runners.get(name), ""
        if runner is None:
            if secret != BOOTSTRAP:
                return Said(401, "invalid registration authorization")
            fresh = f"secret_{next(self._numbers)}"
            runner = self.runners[name] = Runner(fresh, record, self.now)
        elif self._expired(runner):
            return Said(404, "runner not found")
        elif secret != runner.secret:
            return Said(401, "invalid heartbeat authorization")
        runner.record, runner.seen_at = record, self.now
        return Said(200, secret=fresh, sessions=frozenset(runner.sessions))

    def unregister(self, name: str, secret: str) -> Said:
        runner = self.runners.get(name)
        if runner is None or self._expired(runner):
            return Said(404, "runner not found")
        if secret != runner.secret:
            return Said(401, "invalid authorization")
        del self.runners[name]
        return Said(204)

    def listed(self) -> dict[str, RunnerRecord]:
        """Return what discovery shows."""
        return {name: runner.record for name, runner in self.runners.items() if not self._expired(runner)}

    def _expired(self, runner: Runner) -> bool:
        return self.now - runner.seen_at > TTL_S
