"""What the daemon does for `orchd stop` and `orchd start`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace

from orchd.control.models import followed, meant, told
from orchd.control.orders import Asker, Json
from orchd.domain.ids import ModelKey
from orchd.domain.progress import Progress
from orchd.history.ports import History, Kind
from orchd.reconcile.ports import Orders, Reconciler

_NOT_IN_FILE = "; it is not in the models file"


class StopModels:
    """Stops models, and keeps them stopped."""

    def __init__(self, reconcile: Reconciler, history: History) -> None:
        self._reconcile = reconcile
        self._history = history

    async def run(self, order: Json, by: Asker) -> AsyncGenerator[Json, None]:
        """Yield what was done for each model; with `order["wait"]`, until each has stopped.

        Raises:
            OrchdError: `unknown_target`, `bad_request`: nothing was done.
        """
        orders, loop = self._reconcile.orders, self._reconcile.loop
        before = orders.stopped
        keys = meant(order, {**loop.models(), **before}.keys())
        for key in keys:
            if key not in before:
                self._history.note(Kind.STOP_ASKED, "", about=key, by=str(by))
        done = await orders.stop(keys, str(by))
        said = {key: done.follow[key]() for key in keys}
        for key in keys:
            already = key in before and before[key] == orders.stopped.get(key)
            text = f"is stopped already, {before[key]}" if already else said[key].text
            yield told(key, Progress(text + ("" if orders.in_file(key) else _NOT_IN_FILE)), left_alone=already)
        for line in _not_kept(done, "its stop holds only until orchd is restarted"):
            yield line
        if order.get("wait") is True:
            async for line in followed(done.follow, loop, said):
                yield line


class StartModels:
    """Lets models run again that were stopped."""

    def __init__(self, reconcile: Reconciler, history: History) -> None:
        self._reconcile = reconcile
        self._history = history

    async def run(self, order: Json, by: Asker) -> AsyncGenerator[Json, None]:
        """Yield what was done for each model; with `order["wait"]`, until each is ready, or can't be.

        Raises:
            OrchdError: `unknown_target`, `bad_request`: nothing was done.
        """
        orders, loop = self._reconcile.orders, self._reconcile.loop
        before = orders.stopped
        keys = meant(order, before.keys() if order.get("all") is True else {**loop.models(), **before}.keys())
        for key in keys:
            if key in before:
                self._history.note(Kind.START_ASKED, "", about=key, by=str(by))
        done = await orders.start(keys, str(by))
        said = {key: done.follow[key]() for key in keys}
        for key, now in said.items():
            yield told(key, now if key in before else _not_stopped(key, now), left_alone=key not in before)
        for line in _not_kept(done, "it is stopped again when orchd is restarted"):
            yield line
        if order.get("wait") is True:
            async for line in followed(done.follow, loop, said):
                yield line


def _not_stopped(key: ModelKey, now: Progress) -> Progress:
    hint = f"; `orchd restart {key}` tries again at once" if now.failed else ""
    return replace(now, text=f"is not stopped; {now.text}{hint}")


def _not_kept(done: Orders, so: str) -> list[Json]:
    if not done.not_kept:
        return []
    return [told(key, Progress(f"{so}: {done.not_kept}", failed=True)) for key in done.follow]
