"""Which models the names on a command line mean: full names, model ids, and patterns as a shell has them.

For all commands that take several models. A name that means nothing is refused, with the nearest one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase

from orchd.domain.ids import ModelKey
from orchd.status_view import find_model

WILD = frozenset("*?[")


def find_models(names: Iterable[str], keys: Collection[ModelKey]) -> tuple[ModelKey, ...]:
    """Return the models that `names` mean, each once, in the order of the names.

    A name with one of `*?[` in it that is no model's own is a pattern, for `pipeline/model_id` or for the model id
    alone; `*` stands for slashes, too.

    Raises:
        OrchdError: `unknown_target`: a name that means none of `keys`, or more than one without being a pattern.
    """
    found: dict[ModelKey, None] = {}
    for name in names:
        found.update(dict.fromkeys(_find(name, keys)))
    return tuple(found)


def _find(name: str, keys: Collection[ModelKey]) -> list[ModelKey]:
    if WILD.isdisjoint(name) or any(name in (str(key), key.model_id) for key in keys):
        return [find_model(name, keys)]
    found = [key for key in sorted(keys) if fnmatchcase(str(key), name) or fnmatchcase(key.model_id, name)]
    return found or [find_model(name, keys)]
