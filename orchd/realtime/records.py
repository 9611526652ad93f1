"""Writes down which streams there are, and reads it after a restart.

A failure is logged, and the stream goes on, but where somebody is promised that it survives a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, NamedTuple

import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.origins import Origin
from orchd.domain.phases import StreamPhase
from orchd.domain.stores import StoredStream, StreamStore
from orchd.errors import StoreError
from orchd.hooks.account import Account
from orchd.realtime.stream import Stream
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.streams")


class LeftStream(NamedTuple):
    """A stream that an earlier orchd has left, as its record says."""

    stored: StoredStream
    origin: Origin
    account: Account | None


class StreamRecords:
    """The records of streams, over their store."""

    def __init__(self, store: StreamStore) -> None:
        self._store = store
        self._under_way: set[asyncio.Task[Any]] = set()

    async def keep(self, stream: Stream) -> None:
        """Write down that it is there, and whether it was started; on the disk when this returns.

        One that is over by now is not written, nor one whose record is being dropped.

        Raises:
            StoreError: it can't be written.
        """
        if stream.phase is StreamPhase.ENDED or stream.forgetting is not None:
            return
        stream.kept = True
        runner, began_at, account = stream.session.runner, stream.began_date, stream.session.account
        paid_by = None if account is None else account.to_json()
        stored = StoredStream(stream.id, stream.origin, runner, began_at, paid_by, stream.asked)
        await self._store.save_stream(stored)

    async def save(self, stream: Stream) -> None:
        """As `keep`; a failure is logged."""
        try:
            await self.keep(stream)
        except StoreError as exc:
            log.error("stream_not_saved", stream=stream.id, reason=exc.message)

    def save_soon(self, stream: Stream) -> None:
        """As `save`, without waiting."""
        self._soon(self.save(stream))

    def forget_soon(self, key: ModelKey, name: str) -> asyncio.Task[None]:
        """Drop a record; return what does so. One that is not there is fine."""
        return self._soon(self._forget(key, name))

    async def left(self) -> list[LeftStream]:
        """Return what an earlier orchd has left. What can't be read of a record is logged, and left out.

        Raises:
            StoreError: the store can't be read.
        """
        return [LeftStream(stored, _origin(stored), _account(stored)) for stored in await self._store.streams()]

    async def close(self) -> None:
        """Wait for nothing more: what was handed to the store is its own."""
        await cancel(*self._under_way)

    async def _forget(self, key: ModelKey, name: str) -> None:
        try:
            await self._store.forget_stream(key, name)
        except StoreError as exc:
            log.error("stream_not_forgotten", stream=name, reason=exc.message)

    def _soon(self, work: Awaitable[Any]) -> asyncio.Task[None]:
        async def done() -> None:
            await work

        task = spawn(done(), name="record of a stream")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task


def _origin(stored: StoredStream) -> Origin:
    if stored.origin in set(Origin):
        return Origin(stored.origin)
    log.warning(
        "stored_row_unreadable",
        table="streams",
        pipeline=stored.runner.key.pipeline,
        model_id=stored.runner.key.model_id,
        row=stored.id,
        error=f"cannot read its origin {stored.origin!r}",
        next="its slot stays taken, and nobody else is told of its end",
    )
    return Origin.DIRECT


def _account(stored: StoredStream) -> Account | None:
    """Return who pays for a stream that an earlier orchd left; None = nobody, or it can't be read, which is logged."""
    if stored.account is None:
        return None
    try:
        return Account.from_json(stored.account)
    except ValueError as exc:
        log.error(
            "stored_account_unreadable",
            pipeline=stored.runner.key.pipeline,
            model_id=stored.runner.key.model_id,
            stream=stored.id,
            error=str(exc),
            next="the session goes on, and nobody is charged for it",
        )
        return None
