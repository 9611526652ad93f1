"""Recordings of real programs: their steps, their placeholders, and what it means to differ from one."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"

# `<channel>` means another value in every step; the others keep theirs within a file.
PLACEHOLDER = re.compile(r"<(?:secret|session|runner|proxy|channel)-\d+>|<channel>|<timestamp>")
_TIMESTAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z"
# Random in every answer, of a fixed length.
_RANDOM = re.compile(r'"(recipient_rand_hash|seed)":"[^"]*"')
# The recorded worker of go-livepeer was a program in Python.
_PYTHON = re.compile(r"Python/3\.\d+")
# Longest wait, in real seconds, for the node or the worker to get to where a step wants it.
BOUND_S = 60.0

Step = Mapping[str, Any]


class Differs(Exception):
    """The double did not do what the recording says."""


def load(file: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = json.loads((TRANSCRIPTS / file).read_text())
    return steps


def played_steps(files: Iterable[str], left_out: Callable[[str, Step], str | None]) -> list[Any]:
    """Return file and number of each step that a double plays, as parameters of a test.

    Args:
        left_out: returns why a step of a file is not played; None = it is.
    """
    return [
        pytest.param(file, index, id=f"{file.removesuffix('.json')}-{index}-{step['step']}")
        for file in files
        for index, step in enumerate(load(file))
        if left_out(file, step) is None
    ]


def watched(step: Step) -> bool:
    """Whether a step says what the worker saw, and nothing else."""
    return "worker_requests" in step and "request" not in step


def plain(text: str) -> str:
    """Return the text without what is random in every answer and has no placeholder."""
    return _PYTHON.sub("Python/3", _RANDOM.sub(r'"\1":"*"', text))


def learn(recorded: str, found: str) -> dict[str, str]:
    """Return what the placeholders in `recorded` stand for in `found`; raises Differs if the texts do not match."""
    names: dict[str, str] = {}
    match = re.fullmatch("".join(_pattern(recorded, names)), found, re.DOTALL)
    if match is None:
        raise Differs(f"\n  recorded {recorded!r}\n  found    {found!r}")
    return {name: match[group] for name, group in names.items()}


def _pattern(recorded: str, names: dict[str, str]) -> Iterator[str]:
    """Yield the parts of a regular expression for a recorded text; `names` is filled with the groups' names."""
    end = 0
    for place in PLACEHOLDER.finditer(recorded):
        yield re.escape(recorded[end : place.start()])
        end = place.end()
        name = place.group()
        if name == "<timestamp>":
            yield _TIMESTAMP
        elif name in names:
            yield f"(?P={names[name]})"
        else:
            names[name] = f"p{len(names)}"
            yield f"(?P<{names[name]}>[A-Za-z0-9_=-]+?)"
    yield re.escape(recorded[end:])


def headers_of(pairs: list[list[str]]) -> dict[str, str]:
    """Return headers by lower-case name; a Date says nothing."""
    return {name.lower(): value for name, value in pairs if name.lower() != "date"}


def comparable(request: Mapping[str, Any]) -> str:
    """Header order says nothing, and a WebSocket key is random."""
    text = json.dumps({**request, "headers": sorted(request["headers"])}, sort_keys=True)
    return re.sub(r'(?<="Sec-WebSocket-Key", ")[^"]*', "*", text)


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait, in real time, until `holds`; raises Differs if it never does."""
    try:
        async with asyncio.timeout(BOUND_S):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise Differs(f"never happened: {what}") from None


def expect(found: object, recorded: object, what: str) -> None:
    """Raises Differs."""
    if found != recorded:
        raise Differs(f"{what}: {found!r} and not {recorded!r}")
