"""What a drain waits for, in words."""

from __future__ import annotations

from typing import Any, cast

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.origins import Origin
from orchd.domain.phases import StreamPhase
from orchd.jobs.waits import MOST_NAMED, waits_for
from orchd.realtime.stream import Stream

ONE, LIVE = ModelKey("image", "org/one"), ModelKey("live", "tint")


def stream(name: str, phase: StreamPhase = StreamPhase.RUNNING) -> Stream:
    return Stream(name, LIVE, Origin.BYOC, cast(Any, None), 0.0, 0.0, phase, began_date=86_400 + 3723)


def test_jobs_are_counted_and_streams_are_named_with_the_reason() -> None:
    text = waits_for({ONE: 1, LIVE: 3}, [stream("cam1")], 30)
    assert text == (
        "3 jobs and 1 stream to end, at most 30 s: 1 of image/org/one; 2 of live/tint; "
        "stream cam1 of live/tint since 01:02:03 UTC: nobody has stopped it"
    )
    assert waits_for({ONE: 1}, [], 600) == "1 job to end, at most 600 s: 1 of image/org/one"
    assert waits_for({LIVE: 1}, [stream("a")], 30).startswith("1 stream to end, at most 30 s: stream a of live/tint")


@pytest.mark.parametrize("phase", [phase for phase in StreamPhase if phase is not StreamPhase.ENDED])
def test_each_phase_has_a_reason_of_its_own(phase: StreamPhase) -> None:
    others = {waits_for({LIVE: 1}, [stream("a", other)], 30) for other in StreamPhase if other is not phase}
    assert waits_for({LIVE: 1}, [stream("a", phase)], 30) not in others


def test_an_ended_stream_and_nothing_are_only_to_be_settled() -> None:
    assert waits_for({}, [stream("a", StreamPhase.ENDED)], 30) == waits_for({}, [], 30) == "its last jobs to be settled"


def test_of_many_only_some_are_named() -> None:
    text = waits_for({LIVE: 40}, [stream(f"s{number}") for number in range(40)], 30)
    assert text.count("stream s") == MOST_NAMED
    assert text.endswith(f"; {40 - MOST_NAMED} more")
