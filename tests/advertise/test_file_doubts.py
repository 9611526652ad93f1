"""What `orchd check` says of a file as the node and its gateways would see it."""

from __future__ import annotations

from typing import Any

from orchd.advertise.file_doubts import doubts
from orchd.domain.offer import NodeProgram
from tests.catalog.helpers import entry, read

PATTERN = "{pipeline}/{model_id}"


def said(
    *entries: dict[str, Any], pattern: str = PATTERN, program: NodeProgram | None = None, hold_s: float = 0
) -> list[str]:
    return list(doubts(read(*entries).models, pattern, program, hold_s))


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


NODE = NodeProgram.LIVEPEER_NODE


def test_a_timeout_that_livepeer_node_does_not_wait_for_is_named_where_that_was_seen_last() -> None:
    slow = entry(model_id="slow", inference={"timeout_s": 55.5})
    [line] = said(slow, entry(inference={"timeout_s": 55}), program=NODE)
    assert line.startswith("inference.timeout_s of llm/slow counts for at most 55 s beside Livepeer Node")
    assert "early_head_s" in line
    assert said(entry(inference={"timeout_s": 300, "early_head_s": 50}), program=NODE) == []
    assert said(entry(inference={"timeout_s": 300}, price_per_unit=...), program=NODE) == []
    assert said(entry(), program=NODE) == [], "the default was chosen by nobody"
    for program in (None, NodeProgram.GO_LIVEPEER):
        assert said(slow, program=program, hold_s=240) == []


def test_a_wait_for_cold_models_that_livepeer_node_does_not_wait_for_is_named() -> None:
    [line] = said(entry(model_id="cold"), entry(model_id="warm", warm=True), program=NODE, hold_s=240)
    assert line.startswith("jobs.hold_timeout_s = 240 counts for at most 55 s beside Livepeer Node")
    assert "llm/cold" in line
    assert "llm/warm" not in line
    assert said(entry(warm=True), program=NODE, hold_s=240) == []
    assert said(entry(), program=NODE, hold_s=55) == []


def test_what_livepeer_node_would_not_offer_is_said_before_it_is_tried() -> None:
    video = entry(model_id="video", currency="USD", price_unit="720p")
    stream = entry(model_id="stream", profile="pytrickle", mode="single-shot")
    lines = said(video, stream, program=NODE)
    assert lines == [
        "llm/video: cannot publish the price: Livepeer Node takes no price per hour of 720p video (set price_unit to "
        "second, hour or fixed)",
        "llm/stream: cannot serve Live Runner's clients: a stream of it outlives the request that starts it, and its "
        'sessions do not; set "mode": "persistent"',
    ]
    assert said(video, stream) == []


def test_a_price_in_wei_without_a_rate_is_said_beside_livepeer_node() -> None:
    models = read(entry(model_id="wei", price_per_unit=5), entry(model_id="free", price_per_unit=0)).models
    [line] = doubts(models, PATTERN, NODE, rate=False)
    assert line.startswith("llm/wei: cannot publish the price on chain: ")
    assert "orchestrator.eth_usd" in line
    assert list(doubts(models, PATTERN, NODE)) == []
