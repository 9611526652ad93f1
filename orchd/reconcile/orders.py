"""An operator's orders about models: kept first, then told to the loop, which carries them out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Coroutine, Mapping
from functools import partial
from typing import Any

import structlog

from orchd import tasks
from orchd.domain.events import RestartAsked, StopChanged
from orchd.domain.ids import ModelKey
from orchd.domain.progress import Progress
from orchd.domain.state import Stopped
from orchd.errors import StoreError
from orchd.reconcile import progress
from orchd.reconcile.loop import Loop
from orchd.reconcile.ports import Orders
from orchd.reconcile.tables import StoppedTable

log = structlog.get_logger("orchd.reconcile")


class OrderBook:
    """Takes orders. Each is carried out whole, also if who asks leaves in the middle; stops and starts one after
    another, so that the last one that was given holds, however slow the disk is.

    An order that can't be kept, since the disk is full for example, is carried out all the same: it may be what makes
    room. Given again, it is kept then.
    """

    def __init__(self, loop: Loop, table: StoppedTable) -> None:
        self._loop = loop
        self._table = table
        self._turn = asyncio.Lock()

    @property
    def stopped(self) -> Mapping[ModelKey, Stopped]:
        """As `ports.ModelOrders.stopped`."""
        return self._loop.state.stopped

    def in_file(self, key: ModelKey) -> bool:
        """As `ports.ModelOrders.in_file`."""
        return key in self._loop.state.desired.models

    def now(self, key: ModelKey) -> Progress:
        """As `ports.ModelOrders.now`."""
        return progress.of_start(self._loop.state, key)

    async def stop(self, keys: Collection[ModelKey], by: str) -> Orders:
        """As `ports.ModelOrders.stop`."""
        not_kept = await _whole(self._stop(keys, by))
        return Orders({key: partial(progress.of_stop, self._loop.state, key) for key in keys}, not_kept)

    async def start(self, keys: Collection[ModelKey], by: str) -> Orders:
        """As `ports.ModelOrders.start`."""
        not_kept = await _whole(self._start(keys, by))
        return Orders({key: partial(progress.of_start, self._loop.state, key) for key in keys}, not_kept)

    async def restart(self, keys: Collection[ModelKey], by: str) -> Orders:
        """As `ports.ModelOrders.restart`."""
        state = self._loop.state
        _log("restart_asked", keys, by)
        follow = {key: partial(progress.of_restart, state, key, progress.launched(state, key)) for key in keys}
        for key in keys:
            self._loop.post(RestartAsked(key))
        await self._loop.changed()
        return Orders(follow)

    async def _stop(self, keys: Collection[ModelKey], by: str) -> str:
        async with self._turn:
            before, now = self._loop.state.stopped, Stopped(by, time.time())
            fresh = {key: now for key in keys if key not in before}
            _log("stop_asked", fresh, by)
            return await self._carry_out(self._table.save({key: before.get(key, now) for key in keys}), fresh)

    async def _start(self, keys: Collection[ModelKey], by: str) -> str:
        async with self._turn:
            stopped = [key for key in keys if key in self._loop.state.stopped]
            _log("start_asked", stopped, by)
            return await self._carry_out(self._table.forget(keys), dict.fromkeys(stopped))

    async def _carry_out(self, keep: Coroutine[Any, Any, None], changes: Mapping[ModelKey, Stopped | None]) -> str:
        """Keep and tell what is stopped (None: started); return why it could not be kept, empty = it could."""
        not_kept = ""
        try:
            await keep
        except StoreError as exc:
            log.error("order_not_kept", reason=exc.message)
            not_kept = exc.message
        for key, stopped in changes.items():
            self._loop.post(StopChanged(key, stopped))
        await self._loop.changed()
        return not_kept


async def _whole(work: Coroutine[Any, Any, str]) -> str:
    return await asyncio.shield(tasks.spawn(work, name="carry out an order"))


def _log(event: str, keys: Collection[ModelKey], by: str) -> None:
    for key in keys:
        log.info(event, pipeline=key.pipeline, model_id=key.model_id, by=by)
