"""What happened, as a part: parts above tell it, and it is written behind them.

Nobody waits for the disk. Events wait in a bounded buffer, and a root task writes them, many in one transaction.
A kill -9 loses what came in the last moment before it; a disk that is full or hangs loses the oldest of
the buffer, and says how many.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import datetime

import structlog

from orchd import __version__
from orchd.database.database import HasDatabase
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.errors import StoreError
from orchd.history import tables
from orchd.history.buffer import Buffer, Event, Stand
from orchd.history.ports import Kind
from orchd.part import Context, Part, Roots

log = structlog.get_logger("orchd.history")

GATHER_S = 0.25
"""How long events gather before they are written: several belong together, and each write is an fsync."""
ALIVE_S = 60.0
"""How often is noted that orchd lives, if nothing happens."""
RETRY_S = 5.0
"""Wait after a write that did not work."""
CLOSE_S = 5.0
"""Longest wait for the last write."""


class HistoryPart(Part):
    """After `ports.History`."""

    name = "history"

    def __init__(self, context: Context, database: HasDatabase) -> None:
        self._instance = context.settings.instance
        self._database = database
        self._buffer = Buffer()
        self._ids = itertools.count(1)
        self._wake = asyncio.Event()
        self._begun = False
        self._failing = False

    async def open(self) -> None:
        self._ids = itertools.count(1 + await self._database.database.read(tables.newest_id))

    async def start(self) -> None:
        now = time.time()
        try:
            before = await self._database.database.transaction(
                lambda sql: tables.begin(sql, __version__, self._instance, now)
            )
        except StoreError as exc:
            self._failed(exc)
            before = None
        self._begun = True
        said = f"orchd {__version__} (instance {self._instance}) has started"
        if before is not None and before[1] is None:
            said += f"; the one before did not end cleanly, and was last alive at {_time_of_day(before[0])}"
        self.note(Kind.DAEMON_STARTED, said)

    def roots(self) -> Roots:
        return {"history": self._follow()}

    async def close(self) -> None:
        if not self._begun:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                while self._buffer:
                    await self._write()
                await self._write(ended=True)
        except (StoreError, TimeoutError) as exc:
            reason = exc.message if isinstance(exc, StoreError) else "the disk does not answer"
            log.warning("events_not_kept", count=len(self._buffer), reason=reason)

    # -- what parts above tell ---------------------------------------------------------------------------------------

    def note(
        self,
        kind: Kind,
        why: str,
        *,
        about: ModelKey | RunnerId | None = None,
        evidence: str = "",
        by: str = "",
        model: Model | None = None,
    ) -> None:
        key, replica, generation = about if isinstance(about, RunnerId) else (about, None, "")
        event = Event(next(self._ids), time.time(), kind, key, replica, generation, by, why, evidence, model)
        self._buffer.add(event)
        self._wake.set()

    def stands(self, runner: RunnerId, state: str, why: str, model: Model | None = None) -> None:
        self._buffer.stand(runner, Stand(state, time.time(), why, model))
        self._wake.set()

    def gone(self, runner: RunnerId) -> None:
        self._buffer.stand(runner, None)
        self._wake.set()

    # -- writing -----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                async with asyncio.timeout(ALIVE_S):
                    await self._wake.wait()
                await asyncio.sleep(GATHER_S)
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                await self._write()
                while self._buffer.fills_a_batch:
                    await self._write()
                if self._buffer:  # What has come meanwhile gathers first, or each write would be of a few.
                    self._wake.set()
            except StoreError as exc:
                self._failed(exc)
                self._wake.set()
                await asyncio.sleep(RETRY_S)

    async def _write(self, *, ended: bool = False) -> None:
        """Write one batch.

        Raises:
            StoreError: it waits again.
        """
        batch, now = self._buffer.take(), time.time()
        try:
            await self._database.database.transaction(lambda sql: tables.write(sql, batch, now, ended=ended))
        except BaseException:
            self._buffer.put_back(batch)  # Also if it was written after all: an event is kept once.
            raise
        self._failing = False

    def _failed(self, exc: StoreError) -> None:
        if not self._failing:
            log.warning("events_wait", count=len(self._buffer), reason=exc.message)
        self._failing = True


def _time_of_day(at: float) -> str:
    return datetime.fromtimestamp(at).astimezone().isoformat(sep=" ", timespec="seconds")
