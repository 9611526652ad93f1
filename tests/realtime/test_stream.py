"""The table of streams: by model and name, no name twice."""

from __future__ import annotations

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.origins import Origin
from orchd.domain.phases import StreamPhase
from orchd.realtime.stream import Stream, Streams
from orchd.sessions.session import Session, SessionKind
from tests.jobs.model import ADDRESS, KEY, runner_of

OTHER = ModelKey("image", "org/two")


def a_stream(name: str = "s1", key: ModelKey = KEY, origin: Origin = Origin.BYOC) -> Stream:
    session = Session(f"id-{name}", key, runner_of(key), ADDRESS, SessionKind.STREAM, 0.0, 0.0)  # type: ignore[arg-type]
    return Stream(name, key, origin, session, 0.0, 0.0)


def test_a_stream_is_found_by_model_and_name_until_it_is_dropped() -> None:
    streams, one, two = Streams(), a_stream(), a_stream(key=OTHER)
    streams.add(one)
    streams.add(two)
    assert (streams.find(KEY, "s1"), streams.find(OTHER, "s1"), streams.find(KEY, "x")) == (one, two, None)
    assert set(streams) == {one, two}
    streams.drop(one)
    streams.drop(one)
    assert streams.find(KEY, "s1") is None
    assert streams.of(KEY) == ()
    assert list(streams) == [two]


def test_a_name_is_given_once() -> None:
    streams = Streams()
    streams.add(a_stream())
    with pytest.raises(ValueError, match="cannot add stream 's1'"):
        streams.add(a_stream())
    assert len(streams.of(KEY)) == 1


def test_a_former_one_does_not_take_the_name_of_its_successor_with_it() -> None:
    streams, former, next_one = Streams(), a_stream(), a_stream()
    streams.add(former)
    streams.drop(former)
    streams.add(next_one)
    streams.drop(former)
    assert streams.find(KEY, "s1") is next_one


def test_a_renamed_one_has_the_new_name_alone() -> None:
    streams, one = Streams(), a_stream("found")
    streams.add(one)
    streams.rename(one, "s1")
    assert (streams.find(KEY, "found"), streams.find(KEY, "s1"), one.id) == (None, one, "s1")
    streams.drop(one)
    assert list(streams) == []


def test_they_are_counted_by_origin() -> None:
    streams = Streams()
    for name, origin in (("a", Origin.BYOC), ("b", Origin.BYOC), ("c", Origin.LIVE_RUNNER)):
        streams.add(a_stream(name, origin=origin))
    assert [streams.count(KEY, origin) for origin in Origin] == [0, 2, 1, 0, 0]
    assert streams.count(OTHER, Origin.BYOC) == 0


def test_they_may_be_dropped_while_they_are_looked_through() -> None:
    streams = Streams()
    for name in "abc":
        streams.add(a_stream(name))
    for stream in streams:
        streams.drop(stream)
    assert list(streams) == []


def test_one_that_ends_is_not_live() -> None:
    one = a_stream()
    live = {}
    for phase in StreamPhase:
        one.phase = phase
        live[phase] = one.live
    assert [phase for phase, is_live in live.items() if not is_live] == [StreamPhase.ENDING, StreamPhase.ENDED]
