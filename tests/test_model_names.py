"""Which models several names and patterns mean."""

from __future__ import annotations

import pytest

from orchd.domain.ids import ModelKey
from orchd.errors import Code, OrchdError
from orchd.model_names import find_models

A, B, C, ODD = ModelKey("llm", "org/a"), ModelKey("llm", "org/b"), ModelKey("upscale", "b"), ModelKey("x", "a[1]*")
KEYS = {A, B, C, ODD}


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["llm/*"], (A, B)),
        (["b", "llm/*"], (C, A, B)),
        (["llm/org/b", "llm/*", "llm/org/b"], (B, A)),
        (["*"], (A, B, C, ODD)),
        (["org/[ab]"], (A, B)),
        (["?"], (C,)),
        (["a[1]*"], (ODD,)),
        ([], ()),
    ],
)
def test_names_ids_and_patterns_mean_these(names: list[str], found: tuple[ModelKey, ...]) -> None:
    assert find_models(names, KEYS) == found


@pytest.mark.parametrize("name", ["lm/org/a", "llm/x*", "LLM/*", ""])
def test_a_name_that_means_nothing_is_refused_and_so_is_the_whole_list(name: str) -> None:
    with pytest.raises(OrchdError, match=r"^cannot find model ") as caught:
        find_models(["llm/*", name], KEYS)
    assert caught.value.code is Code.UNKNOWN_TARGET


def test_the_nearest_name_is_told() -> None:
    with pytest.raises(OrchdError, match=r"did you mean llm/org/a\?|did you mean llm/org/b\?"):
        find_models(["lm/org/*"], KEYS)
