"""The page of `/status`, rendered in pieces. The text of a model is kept for as long as its status is the same object.

Scrapes at once share one rendering. Between two pieces the event loop runs, so models may change meanwhile: the page is
of the snapshot that was taken when it was begun.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence

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
        facts = head(snapshot)
        lists: dict[str, Iterable[str]] = {
            name: map(self._dump, value) for name, value in facts.items() if isinstance(value, list)
        }
        lists["problems"] = (self._dump(problem_json(problem)) for problem in problems_of(snapshot, only))
        statuses = [snapshot.models[only]] if only else [*snapshot.models.values()]
        lists["models"] = map(self._model, statuses)
        texts = [self._dump({name: value for name, value in facts.items() if name not in lists})[:-1]]
        for name, items in lists.items():
            texts.append(f', "{name}": [')
            comma = ""
            for item in items:
                texts += comma, item
                comma = ", "
                if measure.due(len(item)):
                    yield
            texts.append("]")
        texts.append("}")
        made: list[bytes] = []
        for chunk in chunks(texts):
            made.append(chunk)
            yield
        return tuple(made)

    def _model(self, status: ModelStatus) -> str:
        kept = self._texts.get(status.model.key)
        if kept is None or kept[0] is not status:
            kept = self._texts[status.model.key] = status, self._dump(model_json(status))
        return kept[1]
