"""What the orders about models share: which models are meant, and what is told of each until the order is over."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Mapping
from types import MappingProxyType
from typing import Protocol

from orchd.control.orders import Json
from orchd.domain.ids import ModelKey
from orchd.domain.progress import Follow, Progress
from orchd.errors import Code, OrchdError
from orchd.model_names import find_models


class Turns(Protocol):
    """The loop, as far as a wait needs it."""

    async def changed(self) -> None: ...


def meant(order: Json, keys: Collection[ModelKey]) -> tuple[ModelKey, ...]:
    """Return the models that an order is about: those of `order["models"]`, or all if `order["all"]`.

    Raises:
        OrchdError: `unknown_target`, `bad_request`.
    """
    names, every = order.get("models"), order.get("all")
    if every is True and not names:
        return tuple(sorted(keys))
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise OrchdError('cannot read the order: {"models": [TEXT, ...]} is expected', code=Code.BAD_REQUEST)
    return find_models(names, keys)


def told(key: ModelKey, progress: Progress, *, left_alone: bool = False) -> Json:
    """Return one line of news about a model. `left_alone`: there was nothing to do for it."""
    return {"model": str(key), "line": progress.text, "failed": progress.failed, "left_alone": left_alone}


async def followed(
    follow: Mapping[ModelKey, Follow], loop: Turns, said: Mapping[ModelKey, Progress] = MappingProxyType({})
) -> AsyncGenerator[Json, None]:
    """Yield how far each model is, whenever that is news, until nothing more comes of the order for any of them.

    Args:
        said: what has been told already.
    """
    left, last = dict(follow), dict(said)
    while left:
        for key, ask in [*left.items()]:
            progress = ask()
            if progress != last.get(key):
                last[key] = progress
                yield told(key, progress)
            if progress.over:
                del left[key]
        if left:
            await loop.changed()
