"""What `orchd check` says of a file as the node and its gateways would see it."""

from __future__ import annotations

from typing import Any

from orchd.advertise.file_doubts import doubts
from tests.catalog.helpers import entry, read

PATTERN = "{pipeline}/{model_id}"


def said(*entries: dict[str, Any], pattern: str = PATTERN) -> list[str]:
    return list(doubts(read(*entries).models, pattern))


def test_two_models_with_one_capability_name_are_both_named() -> None:
    [line] = said(entry(model_id="a", capability="c"), entry(model_id="b", capability="c"), entry(model_id="d"))
    assert line.startswith("llm/a, llm/b have the same capability name 'c'")


def test_a_name_of_its_own_may_be_the_name_that_the_pattern_makes_for_another() -> None:
    [line] = said(entry(model_id="a", capability="llm/b"), entry(model_id="b"))
    assert "'llm/b'" in line


def test_what_is_not_offered_takes_no_name_from_others() -> None:
    assert said(entry(model_id="a", capability="c"), entry(model_id="b", capability="c", price_per_unit=...)) == []


def test_more_models_than_livepeer_node_takes_are_counted() -> None:
    assert said(*(entry(model_id=f"m{number}") for number in range(256))) == []
    lines = said(*(entry(model_id=f"m{number}") for number in range(257)))
    assert "Livepeer Node takes at most 256 runners, and all models together ask for 257" in lines


def test_more_sessions_than_livepeer_node_passes_on_at_once_are_counted() -> None:
    [line] = said(entry(maxSessions=257))
    assert line.startswith("Livepeer Node takes at most 256 calls to runners at once")


def test_more_streams_than_livepeer_node_has_channels_for_are_counted() -> None:
    assert said(entry(mode="persistent", maxSessions=153)) == []
    [line] = said(entry(mode="persistent", maxSessions=154))
    assert line.startswith("Livepeer Node takes at most 768 media and event channels")
