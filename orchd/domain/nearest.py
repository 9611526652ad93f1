"""Which of the models that there are somebody probably meant. Pure.

Anybody may name a model that there is not, so finding the nearest one costs little: names are compared by the pairs of
letters that they share, which are kept for each known name.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice

from orchd.domain.ids import ModelKey

MOST_LETTERS = 200
"""How many letters of a name that somebody has sent are compared."""
MOST_COMPARED = 300
"""How many models are compared at most."""
LEAST_SHARE = 0.45
"""Least share of the pairs of letters that two names have in common; below it, one is not a slip of the other."""

Pairs = frozenset[str]


def nearest_model(name: str, keys: Iterable[ModelKey]) -> ModelKey | None:
    """Return the model whose name, id or pipeline is most like `name`; None = none is much like it."""
    asked = _pairs_of(name[:MOST_LETTERS])
    best, most = None, LEAST_SHARE
    for key in islice(keys, MOST_COMPARED):
        share = max(_share(asked, pairs) for pairs in _pairs(key))
        if share > most or (share == most and best is not None and key < best):
            best, most = key, share
    return best


def listed(keys: Iterable[ModelKey], most: int) -> str:
    """Return the first few of them in words, and how many more there are."""
    known = sorted(map(str, keys))
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return ", ".join(known[:most]) + more


@lru_cache(maxsize=8192)
def _pairs(key: ModelKey) -> tuple[Pairs, ...]:
    return _pairs_of(str(key)), _pairs_of(key.model_id), _pairs_of(key.pipeline)


def _pairs_of(name: str) -> Pairs:
    text = f" {name.casefold()} "
    return frozenset(text[at : at + 2] for at in range(len(text) - 1))


def _share(a: Pairs, b: Pairs) -> float:
    return 2 * len(a & b) / (len(a) + len(b))
