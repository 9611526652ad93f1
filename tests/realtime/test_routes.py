"""Which requests are about a stream, and where each kind of container takes them (container.md 5.1, 5.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.catalog.profiles import PROFILES
from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, Model, StreamSpec
from orchd.realtime.routes import (
    AI_RUNNER_PORT,
    Learnt,
    StreamCall,
    StreamRoute,
    call_of,
    has_streams,
    spelling,
    stream_routes,
)
from tests.jobs.model import a_model

KEY = ModelKey("live-video-to-video", "tint")
NOTHING = Learnt()
TRICKLE = StreamSpec(post_starts_stream=True)


def model(stream: StreamSpec = TRICKLE, path: str = "/live-video-to-video") -> Model:
    return a_model(KEY, stream=stream, inference=InferenceSpec(path))


def tried(stream: StreamSpec, call: StreamCall, learnt: Learnt = NOTHING) -> list[str]:
    return [place.path for place in stream_routes(model(stream), call, learnt)]


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        (b"POST", "/stream/start", StreamCall.START),
        (b"POST", "/stream/stop", StreamCall.STOP),
        (b"POST", "/stream/params", StreamCall.UPDATE),
        (b"POST", "/stream/update", StreamCall.UPDATE),
        (b"GET", "/stream/status", StreamCall.STATUS),
        (b"POST", "/stream/status", None),
        (b"GET", "/stream/start", None),
        (b"POST", "/stream/start/", None),
        (b"POST", "/stream", None),
        (b"POST", "/stream/other", None),
    ],
)
def test_two_spellings_are_understood(prefix: str, method: bytes, path: str, call: StreamCall | None) -> None:
    assert spelling(method, prefix + path) is call
    assert call_of(model(), method, prefix + path) is call
    assert call_of(model(StreamSpec(route_prefix=None)), method, path) is None, "it has no streams"


@pytest.mark.parametrize("path", ["/live-video-to-video", "/live/video-to-video", "/own"])
def test_a_post_on_the_inference_path_is_a_start_where_the_profile_says_so(path: str) -> None:
    one = model(path="/own")
    assert call_of(one, b"POST", path) is StreamCall.START
    assert call_of(one, b"GET", path) is None
    assert call_of(model(StreamSpec(), path="/own"), b"POST", path) is None
    assert call_of(one, b"POST", "/version") is None


def test_an_unknown_container_is_tried_in_all_spellings_and_a_known_one_in_its_own() -> None:
    spec = StreamSpec()
    assert tried(spec, StreamCall.START) == ["/stream/start", "/api/stream/start"]
    assert tried(spec, StreamCall.STATUS) == ["/stream/status", "/api/stream/status"]
    assert tried(spec, StreamCall.STOP, Learnt("/api")) == ["/api/stream/stop"]
    assert tried(spec, StreamCall.UPDATE) == [
        "/stream/update",
        "/stream/params",
        "/api/stream/update",
        "/api/stream/params",
    ]
    assert tried(spec, StreamCall.UPDATE, Learnt("")) == ["/stream/update", "/stream/params"]
    assert tried(spec, StreamCall.UPDATE, Learnt("", "/stream/params")) == ["/stream/params"]
    assert tried(spec, StreamCall.UPDATE, Learnt(None, "/stream/params")) == ["/stream/params", "/api/stream/params"]


def test_what_the_entry_says_is_not_tried_out() -> None:
    spec = StreamSpec(route_prefix="/ai", update_path="/tune")
    assert tried(spec, StreamCall.START, Learnt("/api")) == ["/ai/stream/start"]
    assert tried(spec, StreamCall.UPDATE, Learnt("/api", "/stream/params")) == ["/ai/tune"]


def test_ai_runner_has_a_start_a_status_and_an_update_but_no_stop() -> None:
    spec = StreamSpec(post_starts_stream=True, route_prefix=None)
    assert stream_routes(model(spec, "/own"), StreamCall.START, Learnt()) == (StreamRoute("/own"),)
    assert stream_routes(model(spec), StreamCall.STATUS, Learnt()) == (StreamRoute("/api/status", AI_RUNNER_PORT),)
    assert stream_routes(model(spec), StreamCall.UPDATE, Learnt()) == (StreamRoute("/api/params", AI_RUNNER_PORT),)
    assert stream_routes(model(spec), StreamCall.STOP, Learnt()) == ()


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_with_streams_has_somewhere_to_start_one(name: str) -> None:
    spec = PROFILES[name].stream
    for call in StreamCall:
        found = stream_routes(model(spec), call, Learnt())
        if has_streams(spec):
            assert found or call is StreamCall.STOP
        assert all(place.path.startswith("/") for place in found)


@given(st.sampled_from(StreamCall), st.sampled_from(["auto", "", "/api"]), st.sampled_from(["auto", "/stream/params"]))
def test_what_is_learnt_at_a_place_leads_to_that_place_again(call: StreamCall, prefix: str, update: str) -> None:
    spec = StreamSpec(route_prefix=prefix, update_path=update)
    for place in stream_routes(model(spec), call, Learnt()):
        again = stream_routes(model(spec), call, Learnt(place.prefix, place.update_path))
        assert [each.path for each in again] == [place.path]
