"""Bytes to entries: nothing crashes, everything has its line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.catalog.parse import MAX_BYTES, MAX_ENTRIES, Parsed, parse
from orchd.domain.state import Problem
from orchd.errors import Code

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def parsed(text: str | bytes) -> Parsed:
    result = parse(text.encode() if isinstance(text, str) else text, "f.json")
    assert isinstance(result, Parsed), result
    return result


def refused(text: str | bytes) -> Problem:
    result = parse(text.encode() if isinstance(text, str) else text, "f.json")
    assert isinstance(result, Problem), result
    return result


@given(st.binary(max_size=300) | st.text(alphabet='[]{},:"\\ \n0-9.eEtrufalsn/x', max_size=80).map(str.encode))
def test_any_bytes_give_entries_or_one_problem(data: bytes) -> None:
    assert isinstance(parse(data, "f.json"), Parsed | Problem)


@given(st.lists(st.tuples(json_values, st.sampled_from(["", "\n", " \n\n", "\r\n"])), max_size=6), st.booleans())
def test_what_json_writes_is_read_back_with_its_lines(items: list[tuple[Any, str]], pretty: bool) -> None:
    text, lines = "[", []
    for number, (value, gap) in enumerate(items):
        text += ("," if number else "") + gap
        lines.append(text.count("\n") + 1)
        text += json.dumps(value, indent=2 if pretty else None)
    result = parsed(text + "\n]\n")
    assert [raw.value for raw in result.entries] == [value for value, _ in items]
    assert [raw.line for raw in result.entries] == lines
    assert [raw.index for raw in result.entries] == list(range(len(items)))


@given(st.dictionaries(st.text(max_size=6), json_values, min_size=1, max_size=6))
def test_each_field_is_found_on_its_own_line(value: dict[str, Any]) -> None:
    text = "[\n{" + ",".join(f"\n{json.dumps(name)} : {json.dumps(item)}" for name, item in value.items()) + "}]"
    [raw] = parsed(text).entries
    assert [raw.line_of(name) for name in value] == list(range(3, 3 + len(value)))


def test_a_nested_field_is_not_taken_for_one_of_the_same_name_elsewhere() -> None:
    [raw] = parsed('[{\n"env": {"path": "\\"path\\": 1"},\n"health": {\n"x": [{"path": 1}],\n"path": "/h"\n}}]').entries
    assert raw.line_of("health", "path") == 5
    assert raw.line_of("env", "path") == 2
    assert raw.line_of("health", "absent") == 3
    assert raw.line_of("absent") == 1


def test_numbers_are_exact() -> None:
    [raw] = parsed("[[1, 0.1, 1e-3]]").entries
    assert [str(number) for number in raw.value] == ["1", "0.1", "0.001"]


@pytest.mark.parametrize(
    ("text", "line", "column", "said"),
    [
        ("", 1, 1, "an empty file"),
        ("  \n ", 2, 2, "an empty file"),
        ('{"pipeline": "llm"}', 1, 1, "put it into [ ]"),
        ("nonsense", 1, 1, "cannot read this text: expected a JSON array"),
        ("null", 1, 1, "cannot read null: expected a JSON array"),
        ("\n true", 2, 2, "cannot read true"),
        ("-3.5", 1, 1, "cannot read a number"),
        ('"[]"', 1, 1, "a text in quotes"),
        ("<!doctype html>", 1, 1, "HTML"),
        ("// ours\n[]", 1, 1, "no comments"),
        ("/* ours */ []", 1, 1, "no comments"),
        ("# ours\n[]", 1, 1, "no comments"),
        ("[] // ours", 1, 4, "no comments"),
        ("<<<<<<< HEAD\n[]\n=======\n[1]\n>>>>>>> other\n", 1, 1, "conflict mark of git"),
        ('[\n{"a":\n<<<<<<< HEAD\n1\n||||||| base\n2\n=======\n3\n>>>>>>> other\n}]', 3, 1, "<<<<<<< is a conflict"),
        ('[\n{"a": 1},\n=======\r\n{"a": 2}]', 3, 1, "======= is a conflict"),
        ('[{"a": 1}]\n>>>>>>> other', 2, 1, ">>>>>>> is a conflict"),
        ("[{a: 1}]", 1, 3, 'double quotes: "a"'),
        ('[{"a": llm}]', 1, 8, 'double quotes: "llm"'),
        ('[{"a": None}]', 1, 8, "write null"),
        ('[{"a": True}]', 1, 8, "write true"),
        ("[{\u201ca\u201d: 1}]", 1, 3, "double quotes"),
        ('[{"a": 1}', 1, 10, "ends too early"),
        ('[{"a": 1},\n]', 2, 1, "trailing comma"),
        ('[\n{"a": 1,}]', 2, 9, "trailing comma"),
        ('[{"a": [1,]}]', 1, 11, "trailing comma"),
        ('[\n// mine\n{"a": 1}]', 2, 1, "no comments"),
        ('[{"a": 1} # mine\n]', 1, 11, "no comments"),
        ("[{'a': 1}]", 1, 3, "double quotes"),
        ('[{"a" 1}]', 1, 7, "expected ':'"),
        ('[{"a": 1} {"b": 2}]', 1, 11, "expected ','"),
        ('[{"a": "x\ny"}]', 1, 10, "line break"),
        ('[{"a": "x', 1, 8, "closing double quote"),
        ("[]\n[]", 2, 1, "nothing after the array"),
        ("[]\0", 1, 3, "nothing after the array"),
    ],
)
def test_a_break_is_named_with_place_and_what_was_expected(text: str, line: int, column: int, said: str) -> None:
    problem = refused(text)
    assert (problem.line, problem.column, problem.code) == (line, column, Code.FILE_MALFORMED)
    assert said in problem.message
    assert problem.message.startswith("cannot")
    assert problem.entry is None


def test_bytes_that_are_no_utf8_are_located() -> None:
    problem = refused('[\n{"é": "'.encode() + b'\xff"}]')
    assert (problem.line, problem.column) == (2, 8)
    assert "0xff" in problem.message


@pytest.mark.parametrize("data", ["[]".encode("utf-16"), b"\xfe\xff\0[\0]"])
def test_utf16_is_named(data: bytes) -> None:
    assert "UTF-16" in refused(data).message
    assert refused(data).line == 1


def test_conflict_marks_inside_a_text_are_none() -> None:
    assert parsed('[{"a": "<<<<<<< HEAD"}]')
    assert "conflict" not in refused('[{"a": "<<<<<<< HEAD"}').message


def test_a_byte_order_mark_is_read_past_with_a_warning() -> None:
    result = parsed(b"\xef\xbb\xbf[1]")
    assert len(result.entries) == 1
    assert "go-livepeer refuses" in result.warnings[0].message


def test_ten_megabytes_are_refused_unread() -> None:
    problem = refused(b"[" * 10_000_000)
    assert problem.code is Code.FILE_UNREADABLE
    assert "9.5 MiB: the limit is 4 MiB" in problem.message


@pytest.mark.parametrize("garbage", [b"[" * 100_000, b'[{"a":' * 100_000, b"[1," * 50_000, b"\x00" * MAX_BYTES])
def test_garbage_below_the_limit_is_refused_without_a_crash(garbage: bytes) -> None:
    assert refused(garbage).code is Code.FILE_MALFORMED


def test_too_many_entries_are_refused() -> None:
    assert "10000 entries" in refused("[" + "1," * MAX_ENTRIES + "1]").message
    assert len(parsed("[" + "1," * (MAX_ENTRIES - 1) + "1]").entries) == MAX_ENTRIES


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 1}}', '"c" is meant: it is written 2 times'),
        ('{"a": NaN}', "NaN"),
        ('{"a": -Infinity}', "-Infinity"),
        ('{"a": 1e999999}', "far too large"),
        ('{"a": 1e99999999999999999999}', "far too large"),
        ('{"a": ' + "9" * 5000 + "}", "far too large"),
        ('{"a": "x\\u0000"}', "NUL"),
        ('{"a\\ud800": 1}', "surrogate"),
        ("[" * 40 + "]" * 40, "nested"),
    ],
)
def test_nonsense_inside_an_entry_is_that_entry_s_fault(text: str, said: str) -> None:
    first, second = parsed(f'[{text}, {{"b": 2}}]').entries
    assert any(said in fault for fault in first.faults)
    assert second.faults == ()


def test_a_raw_entry_does_not_show_what_it_holds() -> None:
    [raw] = parsed('[{"token": "hunter2"}]').entries
    assert "hunter2" not in repr(raw)
