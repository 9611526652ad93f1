"""What the daemon does for `orchd restart`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from orchd.control.models import followed, meant, told
from orchd.control.orders import Asker, Json
from orchd.domain.ids import ModelKey
from orchd.domain.progress import Follow, Progress
from orchd.history.ports import History, Kind
from orchd.reconcile.ports import Orders, Reconciler


class Restart:
    """Restarts models: all at once, or one after another if somebody waits."""

    def __init__(self, reconcile: Reconciler, history: History) -> None:
        self._reconcile = reconcile
        self._history = history

    async def run(self, order: Json, by: Asker) -> AsyncGenerator[Json, None]:
        """Yield what was done for each model; with `order["wait"]`, until each is ready again, or can't be.

        Raises:
            OrchdError: `unknown_target`, `bad_request`: nothing was done.
        """
        every = order.get("all") is True
        keys = []
        for key in meant(order, self._reconcile.loop.models().keys()):
            if (why_not := self._why_not(key, every)) is None:
                keys.append(key)
            else:
                yield told(key, why_not, left_alone=not why_not.failed)
        if order.get("wait") is True:
            async for line in self._one_by_one(keys, by):
                yield line
            return
        await self._asked(keys, by)
        hint = f"; follow it with `orchd status {keys[0]} --watch`" if len(keys) == 1 else ""
        for key in keys:
            yield told(key, Progress(f"restart begun{hint}"))

    async def _asked(self, keys: Sequence[ModelKey], by: Asker) -> Orders:
        for key in keys:
            self._history.note(Kind.RESTART_ASKED, "", about=key, by=str(by))
        return await self._reconcile.orders.restart(keys, str(by))

    def _why_not(self, key: ModelKey, every: bool) -> Progress | None:
        """Return why a model is left alone; None = it is not. With --all, what does not run is not started."""
        orders = self._reconcile.orders
        if stopped := orders.stopped.get(key):
            return Progress(f"is stopped, {stopped}; `orchd start {key}` starts it", over=True, failed=not every)
        now = orders.now(key)
        if every and now.over and not now.failed and not self._ready(key):
            return Progress(f"{now.text}; there is nothing to restart", over=True)
        return None

    def _ready(self, key: ModelKey) -> bool:
        return self._reconcile.readiness(key)[0]

    async def _one_by_one(self, keys: Sequence[ModelKey], by: Asker) -> AsyncGenerator[Json, None]:
        """Restart the next model when the one before is ready again. One that was not ready holds up nobody."""
        loop, slow = self._reconcile.loop, dict[ModelKey, Follow]()
        for number, key in enumerate(keys):
            was_ready = key in loop.models() and self._ready(key)
            done = await self._asked((key,), by)
            if not was_ready:
                slow |= done.follow
                if number + 1 < len(keys):
                    yield told(key, Progress("restart begun; it was not ready, so the next one does not wait for it"))
                continue
            failed = False
            async for line in followed(done.follow, loop):
                failed = failed or line["failed"]
                yield line
            if failed:
                for other in keys[number + 1 :]:
                    yield told(other, Progress(f"was not restarted, since {key} could not be", over=True, failed=True))
                break
        async for line in followed(slow, loop):
            yield line
