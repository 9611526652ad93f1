"""What gateways could not find, or Livepeer Node not hold, of a models file: for `orchd check`. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from orchd.advertise.limits import NodeLoad
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.nearest import listed
from orchd.realtime.routes import has_streams

_FEW = 5


def doubts(models: Mapping[ModelKey, Model], pattern: str) -> Iterator[str]:
    """Yield in plain words what stands against offering all these models.

    Args:
        pattern: the setting `orchestrator.capability`.
    """
    offered = [model for model in models.values() if model.price is not None]
    yield from _same_names(offered, pattern)
    yield from _limits(offered)


def _same_names(offered: Sequence[Model], pattern: str) -> Iterator[str]:
    by_name: dict[str, list[ModelKey]] = {}
    for model in offered:
        by_name.setdefault(model.name_for_gateways(pattern), []).append(model.key)
    for name, keys in by_name.items():
        if len(keys) > 1:
            yield (
                f"{listed(keys, _FEW)} have the same capability name {name!r}: only the first in the file that can "
                "serve is offered; give the others a capability of their own"
            )


def _limits(offered: Sequence[Model]) -> Iterator[str]:
    streams = sum(model.max_sessions for model in offered if model.persistent and has_streams(model.stream))
    load = NodeLoad(len(offered), sum(model.max_sessions for model in offered), streams)
    for what, count, most in load.reaching(1.0):
        if count > most:
            yield f"Livepeer Node takes at most {most} {what}, and all models together ask for {count}"
