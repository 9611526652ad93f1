"""What Livepeer Node's trickle server did in the recordings, ours does: each exchange, header by header."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from orchd.channels.answers import TrickleAnswer
from orchd.channels.requests import ask
from tests.channels.rig import Get, Post, Rig, Woken
from tests.doubles.shared.recordings import TRANSCRIPTS, load

PREFIX = "/ai/trickle/"
IN, OTHER = "channel_<channel-2>-in", "channel_<channel-4>"
EVENTS, EVENTS_2, EVENTS_3 = (f"orchd-{at}-o2r" for at in ("two-<channel-1>", "two-<channel-2>", "three-<channel-3>"))

Before = Callable[[Rig], object]
JSON = "application/json"
RESERVED = b'{"event":"reserved","session":"<session-%d>","timestamp":"<timestamp>"}'
RELEASED = b'{"event":"released","session":"<session-%d>","timestamp":"<timestamp>"}'


def made(name: str, mime_type: str) -> Before:
    return lambda rig: rig.channels.create(name, mime_type, rig.now)


def gone(name: str) -> Before:
    return lambda rig: rig.delete(name)


def published(name: str, *bodies: bytes) -> Before:
    return lambda rig: [rig.post(-1, body, name) for body in bodies]


def jobs(rig: Rig) -> None:
    """Four more jobs; then the node preconnects."""
    for _ in range(4):
        published(EVENTS_3, RESERVED % 6, RELEASED % 6)(rig)
    rig.preconnect(10, EVENTS_3)


BEFORE: dict[tuple[str, int], Before] = {
    ("node-callbacks", 3): lambda rig: (made(IN, "video/mp2t")(rig), made(OTHER, "text/plain")(rig)),
    ("node-callbacks", 23): published(IN, *(b"seg%d" % seq for seq in range(1, 7))),
    ("node-callbacks", 38): gone(IN),
    ("node-callbacks", 61): gone(OTHER),
    ("node-o2r", 0): made(EVENTS, JSON),
    ("node-o2r", 8): lambda rig: rig.post(3, b"its own next, which somebody has written", EVENTS),
    ("node-o2r", 13): gone(EVENTS),
    ("node-o2r", 16): made(EVENTS_2, JSON),
    ("node-o2r", 22): made(EVENTS_3, JSON),
    ("node-o2r", 23): published(EVENTS_3, RESERVED % 5, RELEASED % 5),
    ("node-o2r", 26): jobs,
}
"""What the node itself did to its channels before it answered a step."""
EDGE = {("node-limits", 20): "busy by the count of its requests, before any channel is looked at"}


def steps(file: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the steps of a recording up to its last exchange with a channel."""
    every = list(enumerate(load(f"{file}.json")))
    last = max(index for index, step in every if exchanged(step))
    yield from every[: last + 1]


def exchanged(step: dict[str, Any]) -> bool:
    return str(step.get("request", {}).get("target", "")).startswith(PREFIX)


FILES = sorted(path.stem for path in TRANSCRIPTS.glob("*.json") if any(map(exchanged, load(path.name))))


def test_the_recordings_with_channels_are_known() -> None:
    assert FILES == ["node-callbacks", "node-expiry", "node-limits", "node-o2r", "node-restart"]


@pytest.mark.parametrize("file", FILES)
def test_each_exchange_goes_as_recorded(file: str) -> None:
    rig = Rig()
    edge = EdgeReader(rig)
    for index, step in steps(file):
        if before := BEFORE.get((file, index)):
            before(rig)
        if exchanged(step) and (file, index) not in EDGE:
            assert played(rig, step["request"]) == recorded(step["response"]), step["step"]
        for segment in step.get("segments", ()):
            edge.reads(segment["segment"], segment["response"])


class EdgeReader:
    """The recorded reader of the node's events: it waits at the live edge for each segment, and for the end."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._seen = 0
        self._get: Get | None = None

    def reads(self, number: int, response: dict[str, Any]) -> None:
        """Compare a segment; what nobody has published yet, the node does now. Some are recorded twice."""
        if number < self._seen:
            return
        get = self._get or self._rig.get(-1, EVENTS)
        if get.look().answer is None:
            self._rig.post(-1, response["body"].encode(), EVENTS)
        answer = get.look().answer
        assert answer is not None
        assert answered(answer, get.data) == recorded(response)
        self._seen = number + 1
        self._get = self._rig.get(-1, EVENTS)


def played(rig: Rig, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    path, body = request["target"].removeprefix(PREFIX), bytes_of(request["body"])
    match request["method"]:
        case "GET":
            reading = Get(rig, path).look()
            assert reading.answer is not None
            return answered(reading.answer, reading.data)
        case "POST" if "/" in path:
            name, word = path.split("/")
            answer = rig.post(word, body, name).answer
            assert answer is not None
            return answered(answer, b"")
        case method:
            found = ask(rig.channels, method, path, Woken().wake, reset=False)
            assert isinstance(found, TrickleAnswer)
            return answered(found, b"")


def bytes_of(text: str) -> bytes:
    """Return a recorded body; a long one is recorded by its length."""
    if length := re.fullmatch(r"\(([\d,]+) bytes\)", text):
        return bytes(int(length[1].replace(",", "")))
    return text.encode()


def answered(answer: TrickleAnswer, streamed: bytes) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body as they would be on the wire; the framing is the edge's."""
    body = streamed if answer.body is None else answer.body
    framing = ("Transfer-Encoding", "chunked") if answer.body is None else ("Content-Length", str(len(body)))
    return answer.status, dict([*answer.headers, framing]), body


def recorded(response: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
    return response["status"], dict(map(tuple, response["headers"])), response["body"].encode()


def test_the_player_sees_a_difference() -> None:
    rig = Rig()
    rig.post(0, b"x")
    request = {"method": "GET", "target": f"{PREFIX}a/0", "body": ""}
    status, headers, body = played(rig, request)
    assert (status, headers["Transfer-Encoding"], body) == (200, "chunked", b"x")
    assert Post(rig, "nobody/0").headers["Connection"] == "close"
