"""The page of `/status`, rendered in pieces. The text of a model is kept for as long as its status is the same object.

Scrapes at once share one rendering. Between two pieces the event loop runs, so models may change meanwhile: the page is
of the snapshot that was taken when it was begun.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import chain

from orchd.domain.ids import ModelKey
from orchd.domain.state import ModelStatus, Snapshot
from orchd.pieces import Measure, Pause, Pauses, Shared, Steps, chunks, with_pauses
from orchd.status_view import Json, find_shown, head, model_json, problem_json, problems_of


class StatusPage:
    """Makes the answer of `/status`, piece by piece.

    Args:
        snapshot: makes the newest one.
        pause: awaited between pieces; None = `Pauses`.
        dump: writes a piece as JSON.
    """

    def __init__(
        self,
        snapshot: Callable[[], Awaitable[Snapshot]],
        pause: Pause | None = None,
        dump: Callable[[Json], str] = json.dumps,
    ) -> None:
        self._snapshot = snapshot
        self._pause = pause or Pauses()
        self._dump = dump
        self._texts: dict[ModelKey, tuple[ModelStatus, str]] = {}
        self._shared: Shared[tuple[bytes, ...]] = Shared("render status")

    async def page(self, model: str | None = None) -> Sequence[bytes]:
        """Return `/status` as JSON, in chunks: all models, or the one that `model` means.

        Raises:
            OrchdError: `unknown_target`: no such model.
        """
        if model:
            snapshot = await self._snapshot()
            return await with_pauses(self._steps(snapshot, find_shown(model, snapshot)), self._pause)
        return await self._shared.result(self._all)

    async def _all(self) -> tuple[bytes, ...]:
        snapshot = await self._snapshot()
        self._texts = {key: kept for key, kept in self._texts.items() if key in snapshot.models}
        return await with_pauses(self._steps(snapshot, None), self._pause)

    def _steps(self, snapshot: Snapshot, only: ModelKey | None) -> Steps[tuple[bytes, ...]]:
        measure = Measure()
        problems: list[str] = []
        for problem in problems_of(snapshot, only):
            problems.append(self._dump(problem_json(problem)))
            if measure.due(len(problems[-1])):
                yield
        models: list[str] = []
        for status in [snapshot.models[only]] if only else [*snapshot.models.values()]:
            models.append(self._model(status))
            if measure.due(len(models[-1])):
                yield
        first = self._dump(head(snapshot))
        whole = chain([first[:-1], ', "problems": ['], _list(problems), ['], "models": ['], _list(models), ["]}"])
        made: list[bytes] = []
        for chunk in chunks(whole):
            made.append(chunk)
            yield
        return tuple(made)

    def _model(self, status: ModelStatus) -> str:
        kept = self._texts.get(status.model.key)
        if kept is None or kept[0] is not status:
            kept = self._texts[status.model.key] = status, self._dump(model_json(status))
        return kept[1]


def _list(items: Iterable[str]) -> Iterable[str]:
    """Yield the items with commas between them."""
    comma = ""
    for item in items:
        yield comma + item
        comma = ", "
