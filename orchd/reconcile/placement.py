"""Where a new runner goes: a step of its own between the plan, which knows no hosts, and carrying it out. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from orchd.domain.model import Model
from orchd.domain.runtime_id import RuntimeId
from orchd.reconcile.actions import Action, Create


def place(
    actions: Iterable[Action], runtimes: Collection[RuntimeId], up: Collection[RuntimeId], load: Mapping[RuntimeId, int]
) -> tuple[Action, ...]:
    """Return the actions, each new runner with the runtime that is to launch it.

    Of the runtimes for its kind it goes to one that can be used now, if any can; of these to the one with the fewest
    runners; of these to the first by name. It stays there until it is forgotten.

    Args:
        runtimes: all that there are; `up`: those that can be used now.
        load: how many runners each has; absent = none.
    """
    placed: list[Action] = []
    more: dict[RuntimeId, int] = {}
    for action in actions:
        placed.append(action)
        if isinstance(action, Create):
            runtime = _best(action.model, runtimes, up, {id: load.get(id, 0) + more.get(id, 0) for id in runtimes})
            if runtime is not None:
                more[runtime] = more.get(runtime, 0) + 1
                placed[-1] = replace(action, runtime=runtime)
    return tuple(placed)


def _best(
    model: Model, runtimes: Collection[RuntimeId], up: Collection[RuntimeId], load: Mapping[RuntimeId, int]
) -> RuntimeId | None:
    """Return where a runner of the model goes; None = somebody else runs it, or nothing here can launch it."""
    able = [id for id in runtimes if id.kind is model.kind]
    return min(able, key=lambda id: (id not in up, load[id], id), default=None)
