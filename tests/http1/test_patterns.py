"""Patterns that read what others send never look at the same text again and again."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

import orchd.http1
import orchd.jobs
import orchd.realtime

MANY = 64
"""So often a repetition may be tried again without harm."""
_parser: Any = importlib.import_module("re._parser")


def patterns() -> Iterator[Any]:
    for package in (orchd.http1, orchd.jobs, orchd.realtime):
        for found in pkgutil.iter_modules(package.__path__, package.__name__ + "."):
            module = importlib.import_module(found.name)
            for name, value in vars(module).items():
                if isinstance(value, re.Pattern):
                    yield pytest.param(value, id=f"{found.name}.{name}")


def taken_by(item: tuple[Any, Any], flags: int) -> frozenset[str]:
    """Return which characters an item of a pattern, which takes one at a time, may take."""
    out = set()
    text = _parser.SubPattern(_parser.State(), [item])
    one = importlib.import_module("re._compiler").compile(text, flags)
    for code in range(256):
        if one.fullmatch(chr(code)):
            out.add(chr(code))
    return frozenset(out)


def first_of(items: list[Any], flags: int) -> frozenset[str]:
    """Return the characters with which these may begin."""
    out: frozenset[str] = frozenset()
    for item in items:
        kind, value = item
        match str(kind):
            case "MAX_REPEAT" | "MIN_REPEAT" | "POSSESSIVE_REPEAT":
                out |= first_of(list(value[2]), flags)
                if value[0]:
                    return out
            case "SUBPATTERN":
                inner = list(value[3])
                out |= first_of(inner, flags)
                if any(not optional(each) for each in inner):
                    return out
            case "BRANCH":
                for branch in value[1]:
                    out |= first_of(list(branch), flags)
                return out
            case "AT" | "ASSERT" | "ASSERT_NOT":
                continue
            case _:
                return out | taken_by(item, flags)
    return out


def optional(item: Any) -> bool:
    kind, value = str(item[0]), item[1]
    if kind.endswith("REPEAT"):
        return bool(value[0] == 0)
    if kind == "SUBPATTERN":
        return all(map(optional, value[3]))
    return kind in ("AT", "ASSERT", "ASSERT_NOT")


def repeats(items: Iterable[Any], behind: list[Any], flags: int) -> Iterator[tuple[frozenset[str], frozenset[str]]]:
    """Return of each long repetition that gives back what it takes, or is in another one, what it takes, and what may
    follow it.
    """
    items = list(items)
    for at, (kind, value) in enumerate(items):
        after = items[at + 1 :] + behind
        match str(kind):
            case "MAX_REPEAT" | "MIN_REPEAT":
                inner = list(value[2])
                if value[1] > MANY:
                    yield first_of(inner, flags), first_of(after_until_sure(after), flags)
                    again = inner
                else:
                    again = []
                yield from repeats(inner, again + after, flags)
            case "POSSESSIVE_REPEAT":
                yield from repeats(list(value[2]), list(value[2]) if value[1] > MANY else [], flags)
            case "SUBPATTERN":
                yield from repeats(list(value[3]), after, flags)
            case "BRANCH":
                for branch in value[1]:
                    yield from repeats(list(branch), after, flags)


def after_until_sure(items: list[Any]) -> list[Any]:
    """Return the items of which any long repetition may compete with what stands before them."""
    out: list[Any] = []
    for item in items:
        out.append(item)
        if not optional(item) and not (str(item[0]).endswith("REPEAT") and item[1][1] > MANY):
            break
    # A single character behind it ends it: that is tried once for each that was taken, and no more.
    return [item for item in out if optional(item) or str(item[0]).endswith("REPEAT")]


@pytest.mark.parametrize("pattern", list(patterns()))
def test_no_two_neighbours_take_the_same_character_and_give_it_back(pattern: re.Pattern[Any]) -> None:
    text = pattern.pattern
    for taken, next_taken in repeats(_parser.parse(text, pattern.flags & ~re.UNICODE), [], 0):
        assert not taken & next_taken, "a search that tries again is quadratic"


@pytest.mark.parametrize("bad", [rb"[ \t]*;[ -~]*[ \t]*", rb"(?:a+)+", rb"a*a*b", rb"[^:]*[ \t]*:"])
def test_this_test_sees_those_that_do(bad: bytes) -> None:
    assert any(taken & after for taken, after in repeats(_parser.parse(bad), [], 0))
