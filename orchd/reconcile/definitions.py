"""Definitions of models by which a runner that is found can be explained, former ones among them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model, StopSpec


class Definitions:
    """By model and generation. What a file has asked for once is kept until orchd ends."""

    def __init__(self, known: Mapping[tuple[ModelKey, str], Model]) -> None:
        self._of: dict[ModelKey, dict[str, Model]] = {}
        for (key, generation), model in known.items():
            self._of.setdefault(key, {})[generation] = model

    def __iter__(self) -> Iterator[Model]:
        for models in self._of.values():
            yield from models.values()

    def add(self, model: Model) -> None:
        """Know one more, or a newer form of the same generation."""
        self._of.setdefault(model.key, {})[model.generation] = model

    def find(self, key: ModelKey, generation: str) -> Model | None:
        """Return the definition that a runner was made from; None = nobody knows it."""
        return self._of.get(key, {}).get(generation)

    def stop_of(self, key: ModelKey) -> StopSpec:
        """Return how to stop a runner of the model of which no definition is known."""
        return next((model.stop for model in self._of.get(key, {}).values()), StopSpec())

    def why_unknown(self, key: ModelKey, generation: str) -> str:
        """Return why no definition explains a runner, in words for the log."""
        others = self._of.get(key, {}).values()
        if not others:
            return "neither the models file nor the store in the state directory knows its model"
        if all(model.generation != generation for model in others):
            return (
                "the models file and the store know its model, but not the definition "
                f"{generation} that it was made from"
            )
        return "its model is run in another way now"
