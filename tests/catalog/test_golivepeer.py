"""What go-livepeer itself would panic over, refuse or not see."""

from __future__ import annotations

from typing import Any

import pytest

from tests.catalog.helpers import entry, read, read_text

GOOD = {"model_id": "a/b", "url": "http://h", "price_per_unit": 1}


def about(*entries: Any) -> list[str]:
    return [problem.message for problem in read(*entries).problems if "go-livepeer" in problem.message]


def test_a_file_that_both_programs_take_gives_no_warning() -> None:
    flags = {"SFAST": True, "X": "y"}
    assert about(entry(**{**GOOD, "image": ...}), entry(model_id="c", optimization_flags=flags, Warm=True)) == []


def test_unknown_pipelines_are_told_in_one_line() -> None:
    messages = about(*(entry(pipeline=f"own-{number}") for number in range(8)), entry())
    assert messages == [
        "go-livepeer panics at start over pipelines that it does not know: own-0, own-1, own-2, own-3, own-4 and 3 more"
    ]


def test_entries_without_a_price_are_told_in_one_line() -> None:
    [message] = about(entry(), entry(model_id="b", price_per_unit=...), entry(model_id="c", price_per_unit=...))
    assert message.endswith("entries 2, 3")


def test_a_model_warm_and_cold_in_one_file() -> None:
    gateway = "0x" + "1" * 40
    [message] = about(entry(warm=True), entry(warm=..., gateway=gateway))
    assert "both warm and cold in one file: llm/acme/small" in message
    assert about(entry(warm=True), entry(warm=True, gateway=gateway)) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"price_per_unit": "0.5"}, "refuses the file"),
        ({"price_per_unit": None}, "refuses the file"),
        ({"price_per_unit": -1}, "panics at start over a negative price"),
        ({"pixels_per_unit": 0}, "positive whole number"),
        ({"pixels_per_unit": 1.5}, "positive whole number"),
        ({"pixels_per_unit": None}, "positive whole number"),
        ({"optimization_flags": {"A": 1}}, "refuses the file"),
        ({"optimization_flags": {"A": {}}}, "refuses the file"),
        ({"capacity": 2}, "number of containers"),
        ({"image": ...}, "left to go-livepeer"),
    ],
)
def test_traps_of_single_fields(fields: dict[str, Any], said: str) -> None:
    [message] = about(entry(**fields))
    assert said in message


def test_a_spelling_that_only_orchd_reads() -> None:
    [problem] = [p for p in read(entry(pixelsPerUnit=2)).problems if "go-livepeer" in p.message]
    assert "it only reads pixels_per_unit" in problem.message
    assert problem.field == "pixelsPerUnit"
    assert str(problem.key) == "llm/acme/small"


def test_a_byte_order_mark() -> None:
    [problem] = read_text(b"\xef\xbb\xbf[]").problems
    assert "go-livepeer refuses the file" in problem.message
