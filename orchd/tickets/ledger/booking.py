"""One writer: changes that wait at the same time become one transaction, and nothing counts before that is on the disk.

If the store says that a transaction failed, it may be there all the same (the disk has answered too late). So before
the next one the store is asked how many it has: then either the view follows, or what the changes had reserved is free
again. Until that is known nothing else is booked.

If the view can't follow, which would be a bug, it may not be as the store is any more: nothing is booked from then on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog

from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.errors import Code, StoreError
from orchd.tasks import spawn
from orchd.tickets.ledger import tables
from orchd.tickets.ledger.changes import Change
from orchd.tickets.ledger.draft import LedgerDraft
from orchd.tickets.ledger.keyring import Keyring

log = structlog.get_logger("orchd.ledger")

AT_ONCE = 256
"""Changes in one transaction."""


class _Waiting(NamedTuple):
    """A change, and who waits for it."""

    change: Change
    done: asyncio.Future[None]


class _InDoubt(NamedTuple):
    """A transaction of which is not known whether it is in the store."""

    draft: LedgerDraft
    group: Sequence[_Waiting]
    error: Exception


class Booking:
    """Books changes, in the order of the calls.

    Args:
        ready: called before each transaction, on the writer's thread. Raises StoreError: nothing may be booked now.
        new_draft: returns one that begins with what the view holds now.
        kept: called with the number of transactions in the store, before anybody is told of the last one, and with the
            secrets if they have changed.
    """

    def __init__(
        self,
        database: Database,
        ready: Callable[[], None],
        new_draft: Callable[[], LedgerDraft],
        kept: Callable[[int, Keyring | None], None],
    ) -> None:
        self._database = database
        self._ready = ready
        self._new_draft = new_draft
        self._kept = kept
        self._queue: deque[_Waiting] = deque()
        self._writing: asyncio.Task[None] | None = None
        self._doubt: _InDoubt | None = None
        self._bug: Exception | None = None

    async def book(self, change: Change) -> None:
        """Return once it is on the disk and in the view. A caller who is cancelled meanwhile changes nothing of that.

        Raises:
            StoreError: it is not in the store, or that is not known. INTERNAL: the view is not to be trusted.
        """
        if self._bug is not None:
            raise _broken() from self._bug
        done = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(change, done))
        if self._writing is None:
            self._writing = spawn(self._write_waiting(), name="ledger writes")
        await done

    async def finish(self) -> None:
        """Wait until everything that was handed over has been booked, or has failed."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write_waiting(self) -> None:
        try:
            while self._queue:
                group = [self._queue.popleft() for _ in range(min(len(self._queue), AT_ONCE))]
                try:
                    await self._write(group)
                except Exception as exc:  # noqa: BLE001 - those who wait must be told
                    self._break(exc, group)
                await asyncio.sleep(0)  # Those who were told now may want to be in the next group.
        finally:
            self._writing = None

    async def _write(self, group: Sequence[_Waiting]) -> None:
        if self._doubt is not None and not await self._resolve(self._doubt):
            _fail(group, self._doubt.draft, self._doubt.error)
            return
        draft = self._new_draft()
        try:
            for waiting in group:
                waiting.change.draw(draft)
            if draft.writes:
                await self._database.transaction(lambda sql: self._carry_out(sql, draft))
        except Exception as exc:  # noqa: BLE001 - the callers get it
            self._doubt = _InDoubt(draft, group, exc)
            await self._resolve(self._doubt)
        else:
            self._apply(draft, group)

    def _break(self, bug: Exception, group: Sequence[_Waiting]) -> None:
        """Tell all who wait that nothing is booked any more."""
        log.error("ledger_broken", then="nothing is booked until orchd is restarted", exc_info=bug)
        self._bug = bug
        for waiting in (*group, *self._queue):
            _tell(waiting.done, _broken())
        self._queue.clear()

    def _carry_out(self, sql: Sql, draft: LedgerDraft) -> None:
        self._ready()
        draft.write(sql)

    async def _resolve(self, doubt: _InDoubt) -> bool:
        """Find out whether a transaction is in the store, and tell its callers. Return whether that is known."""
        ours = doubt.draft.state.commits
        try:
            number = await self._database.transaction(tables.commits)
        except StoreError:
            number = -1
        if number not in (ours - 1, ours):  # Not known; or somebody else has written, and the view is of no use.
            for waiting in doubt.group:
                _tell(waiting.done, doubt.error)
            return False
        self._doubt = None
        if number == ours:
            self._apply(doubt.draft, doubt.group)
        else:
            _fail(doubt.group, doubt.draft, doubt.error)
        return True

    def _apply(self, draft: LedgerDraft, group: Sequence[_Waiting]) -> None:
        keys = draft.apply()
        self._kept(draft.view.state.commits, keys)
        for waiting in group:
            _tell(waiting.done, None)


def _fail(group: Sequence[_Waiting], draft: LedgerDraft, error: Exception) -> None:
    """Free what changes have reserved in the draft's view, and tell their callers."""
    for waiting in group:
        waiting.change.undo(draft.view)
        _tell(waiting.done, error)


def _broken() -> StoreError:
    return StoreError(
        "cannot book: orchd has made a mistake, and does not know what the ledger holds; restart orchd, and report the "
        "`ledger_broken` line of its log",
        code=Code.INTERNAL,
    )


def _tell(done: asyncio.Future[None], error: Exception | None) -> None:
    if done.done():
        return  # Its caller was cancelled, or was told already.
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
