"""What is said to Live Runner and read from it, against recordings of a real node."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.advertise.live_runner.plan import Pace, RunnerRecord
from orchd.advertise.live_runner.prices import GO_LIVEPEER, LIVEPEER_NODE, LivePrice, PriceInfo, PriceTerms
from orchd.advertise.live_runner.wire import (
    DiscoveredRunner,
    HeartbeatAnswer,
    KeptRegistration,
    difference,
    dump_kept,
    heartbeat,
    in_words,
    load_kept,
    read_discovery,
    read_welcome,
    seconds,
    static_document,
)
from orchd.domain.details import Details, Gpu
from orchd.domain.model import Secret
from orchd.domain.money import PriceUnit

TRANSCRIPTS = Path(__file__).parents[2] / "doubles" / "transcripts"
URL = Secret("http://127.0.0.1:8937/live/acme-1/abc")
PRICE = LivePrice("1.2", PriceUnit.HOUR)
RECORD = RunnerRecord("text-to-image/acme", persistent=False, capacity=2, price=PRICE)
RATE = Fraction(3000)
PACE = Pace(5.0, 30.0)


def _answers(name: str, target: str) -> list[Any]:
    """The JSON bodies of a file's good answers of one route."""
    steps = json.loads((TRANSCRIPTS / name).read_text())
    found = [s["response"]["body"] for s in steps if s.get("request", {}).get("target") == target]
    good = []
    for body in found:
        try:
            good.append(json.loads(body) if isinstance(body, str) else body)
        except ValueError:
            continue
    assert good, f"{name} has no such answer"
    return good


def test_a_heartbeat_says_the_whole_record() -> None:
    assert json.loads(heartbeat("orchd-x", URL, RECORD, frozenset({"b", "a"}))) == {
        "runner_id": "orchd-x",
        "status": "ready",
        "session_ids": ["a", "b"],
        "runner_url": URL.value,
        "app": "text-to-image/acme",
        "mode": "single-shot",
        "capacity": 2,
        "price_info": {"price": "1.2", "currency": "usd", "unit": "hour"},
    }


def test_a_static_entry_is_found_under_its_label_and_asked_under_its_url() -> None:
    entry = static_document("acme-1", URL, RunnerRecord("a/b", persistent=True, capacity=1, price=None))
    assert entry == {
        "label": "acme-1",
        "routing": "label",
        "health_url": "/health",
        "runner_url": URL.value,
        "app": "a/b",
        "mode": "persistent",
        "capacity": 1,
    }


def _welcomes(file: str) -> list[HeartbeatAnswer]:
    return [read_welcome(each, PACE) for each in _answers(file, "/runners/heartbeat")]


def test_recorded_answers_to_heartbeats_are_read() -> None:
    first, second, *_ = _welcomes("live-runner-dynamic.json")
    assert (first.pace, first.sessions) == (Pace(5.0, 20.0), frozenset())
    assert first.secret == Secret("<secret-1>")
    assert first.events == Secret("https://127.0.0.1:8935/ai/trickle/orchd-one-<channel>-o2r")
    assert (second.secret, second.events) == (None, None)
    listed = [each.sessions for each in _welcomes("live-runner-session.json")]
    assert frozenset({"<session-1>", "<session-2>"}) in listed


@pytest.mark.parametrize("answer", [None, [], {}, {"session_ids": None}, "ok"])
def test_an_answer_without_sessions_is_none(answer: object) -> None:
    with pytest.raises(ValueError, match="session_ids"):
        read_welcome(answer, PACE)


def test_recorded_discoveries_are_read() -> None:
    listed, *_, hidden, last = [read_discovery(each) for each in _answers("live-runner-dynamic.json", "/discovery")]
    details = Details(version="1")
    one = DiscoveredRunner("echo/one", persistent=False, capacity=1, used=0, price=None, details=details)
    assert listed == {"orchd-one": one} == last
    assert hidden == {}
    static = [read_discovery(each) for each in _answers("live-runner-static.json", "/discovery")]
    assert static[0] == {"one": DiscoveredRunner("echo/one", persistent=True, capacity=2, used=1, price=None)}
    assert static[-1] == {}


def test_a_price_in_discovery_is_read_and_strangers_in_it_are_left_out() -> None:
    ours = {
        "url": "https://o:8935/apps/acme-xl/app",
        "app": "a/b",
        "mode": "single-shot",
        "capacity": 2,
        "capacity_used": 1,
        "price_info": {"price": 111111111111, "currency": "wei", "unit": "seconds"},
    }
    strange: list[Any] = [{"url": "https://o:8935/run/xyz"}, {}, 7, {**ours, "capacity": None}]
    assert read_discovery([{"address": "o", "runners": [*strange, ours]}]) == {
        "acme-xl": DiscoveredRunner(
            "a/b", persistent=False, capacity=2, used=1, price=PriceInfo(111111111111, "seconds")
        )
    }
    with pytest.raises(ValueError, match="not a list"):
        read_discovery({"error": "x"})


@pytest.mark.parametrize(
    ("text", "expected"),
    [("5s", 5.0), ("1m30s", 90.0), ("500ms", 0.5), ("1.5h", 5400.0), ("0s", None), ("5", None), ("", None), (5, None)],
)
def test_go_durations(text: object, expected: float | None) -> None:
    assert seconds(text) == expected


PRICES = st.builds(
    LivePrice, st.from_regex(r"[1-9][0-9]{0,5}(\.[0-9]{1,40})?", fullmatch=True), st.sampled_from(PriceUnit)
)
RECORDS = st.builds(RunnerRecord, st.text(max_size=40), st.booleans(), st.integers(1, 10**6), st.none() | PRICES)
SECRETS = st.text(min_size=1, max_size=60).map(Secret)


@given(st.builds(KeptRegistration, SECRETS, st.none() | SECRETS, RECORDS))
def test_what_is_kept_comes_back(kept: KeptRegistration) -> None:
    assert load_kept(dump_kept(kept)) == kept


@pytest.mark.parametrize("text", ["", "{}", "[]", "plain", '{"secret": "x"}'])
def test_what_cannot_be_read_is_as_if_nothing_was_kept(text: str) -> None:
    assert load_kept(text) is None


def _seen(**changes: Any) -> DiscoveredRunner:
    price = PRICE.reported(RATE, GO_LIVEPEER)
    return replace(DiscoveredRunner(RECORD.app, persistent=False, capacity=2, used=0, price=price), **changes)


@pytest.mark.parametrize(
    ("seen", "on_chain", "doubt"),
    [
        (_seen(), True, ""),
        (_seen(used=2), True, ""),
        (_seen(app="other"), True, "listed as 'other'"),
        (_seen(persistent=True), True, "listed as persistent"),
        (_seen(capacity=1), True, "capacity 1, not 2"),
        (_seen(price=None), True, "without a price"),
        (_seen(price=None), False, ""),
        (_seen(price=None), None, ""),
        (_seen(price=PriceInfo(120_000_000_000, "seconds")), None, "120000000000 wei"),
        (_seen(price=PriceInfo(115_000_000_000, "seconds")), True, ""),
        (_seen(price=PriceInfo(120_000_000_000, "seconds")), True, "120000000000 wei"),
        (_seen(price=PriceInfo(111_111_111_111, "fixed")), True, "fixed"),
    ],
)
def test_a_listing_is_compared_with_what_was_told(seen: DiscoveredRunner, on_chain: bool | None, doubt: str) -> None:
    said = difference(RECORD, seen, RATE, Fraction(5, 100), GO_LIVEPEER, on_chain=on_chain)
    assert doubt in said
    assert bool(doubt) == bool(said)


def test_while_the_rate_is_not_known_the_amount_is_not_compared() -> None:
    seen = _seen(price=PriceInfo(1, "seconds"))
    assert difference(RECORD, seen, None, Fraction(5, 100), GO_LIVEPEER, on_chain=True) == ""


@pytest.mark.parametrize("terms", [GO_LIVEPEER, LIVEPEER_NODE])
@given(st.integers(-2, 2))
def test_a_listed_price_may_be_off_by_a_wei(terms: PriceTerms, off: int) -> None:
    price = PRICE.reported(RATE, terms)
    assert price is not None
    seen = _seen(price=replace(price, price=price.price + off))
    assert bool(difference(RECORD, seen, RATE, Fraction(0), terms, on_chain=True)) == (abs(off) > 1)


def test_prices_in_words() -> None:
    assert in_words(PRICE) == "1.2 usd per hour"
    assert in_words(LivePrice("3", PriceUnit.FIXED)) == "3 usd per session"
    assert in_words(None) == "no price"


GPU = Gpu("0", "NVIDIA L40S", 46068)


def test_what_clients_choose_by_is_told_in_both_ways_with_the_gpu_as_an_object() -> None:
    record = replace(RECORD, details=Details(GPU, "1.2.0", '{"max": 2}'))
    told = {
        "gpu": {"id": "0", "name": "NVIDIA L40S", "vram_mb": 46068},
        "version": "1.2.0",
        "metadata": '{"max": 2}',
    }
    for said in (json.loads(heartbeat("x", URL, record, frozenset())), static_document("x", URL, record)):
        assert {name: said[name] for name in told} == told


details_of_any_kind = st.builds(
    Details,
    st.none() | st.builds(Gpu, st.text(), st.text(), st.integers(0, 2**40)),
    st.text(),
    st.text(),
)


@given(details_of_any_kind)
def test_what_clients_choose_by_outlives_orchd(details: Details) -> None:
    kept = KeptRegistration(Secret("a"), None, replace(RECORD, details=details))
    assert load_kept(dump_kept(kept)) == kept


@given(details_of_any_kind, details_of_any_kind)
def test_details_that_are_listed_as_something_else_are_a_doubt_by_name(told: Details, listed: Details) -> None:
    record = replace(RECORD, details=told)
    seen = DiscoveredRunner(record.app, False, 2, 0, None, listed)
    said = difference(record, seen, RATE, Fraction(0), GO_LIVEPEER, on_chain=False)
    other = [name for name in ("gpu", "version", "metadata") if getattr(told, name) != getattr(listed, name)]
    assert said == (f"its {' and '.join(other)} is listed as something else" if other else "")
