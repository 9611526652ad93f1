"""Which requests are about a stream, and where each kind of container takes them (container.md 5.1, 5.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.catalog.profiles import PROFILES
from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, Model, StreamSpec
from orchd.realtime.routes import AI_RUNNER_PORT, Call, Learnt, Place, call_of, has_streams, places, spelling
from tests.jobs.model import a_model

KEY = ModelKey("live-video-to-video", "tint")
NOTHING = Learnt()
TRICKLE = StreamSpec(post_starts_stream=True)


def model(stream: StreamSpec = TRICKLE, path: str = "/live-video-to-video") -> Model:
    return a_model(KEY, stream=stream, inference=InferenceSpec(path))


def tried(stream: StreamSpec, call: Call, learnt: Learnt = NOTHING) -> list[str]:
    return [place.path for place in places(model(stream), call, learnt)]


@pytest.mark.parametrize("prefix", ["", "/api"])
@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        (b"POST", "/stream/start", Call.START),
        (b"POST", "/stream/stop", Call.STOP),
        (b"POST", "/stream/params", Call.UPDATE),
        (b"POST", "/stream/update", Call.UPDATE),
        (b"GET", "/stream/status", Call.STATUS),
        (b"POST", "/stream/status", None),
        (b"GET", "/stream/start", None),
        (b"POST", "/stream/start/", None),
        (b"POST", "/stream", None),
        (b"POST", "/stream/other", None),
    ],
)
def test_two_spellings_are_understood(prefix: str, method: bytes, path: str, call: Call | None) -> None:
    assert spelling(method, prefix + path) is call
    assert call_of(model(), method, prefix + path) is call
    assert call_of(model(StreamSpec(route_prefix=None)), method, path) is None, "it has no streams"


@pytest.mark.parametrize("path", ["/live-video-to-video", "/live/video-to-video", "/own"])
def test_a_post_on_the_inference_path_is_a_start_where_the_profile_says_so(path: str) -> None:
    one = model(path="/own")
    assert call_of(one, b"POST", path) is Call.START
    assert call_of(one, b"GET", path) is None
    assert call_of(model(StreamSpec(), path="/own"), b"POST", path) is None
    assert call_of(one, b"POST", "/version") is None


def test_an_unknown_container_is_tried_in_all_spellings_and_a_known_one_in_its_own() -> None:
    spec = StreamSpec()
    assert tried(spec, Call.START) == ["/stream/start", "/api/stream/start"]
    assert tried(spec, Call.STATUS) == ["/stream/status", "/api/stream/status"]
    assert tried(spec, Call.STOP, Learnt("/api")) == ["/api/stream/stop"]
    assert tried(spec, Call.UPDATE) == [
        "/stream/update",
        "/stream/params",
        "/api/stream/update",
        "/api/stream/params",
    ]
    assert tried(spec, Call.UPDATE, Learnt("")) == ["/stream/update", "/stream/params"]
    assert tried(spec, Call.UPDATE, Learnt("", "/stream/params")) == ["/stream/params"]
    assert tried(spec, Call.UPDATE, Learnt(None, "/stream/params")) == ["/stream/params", "/api/stream/params"]


def test_what_the_entry_says_is_not_tried_out() -> None:
    spec = StreamSpec(route_prefix="/ai", update_path="/tune")
    assert tried(spec, Call.START, Learnt("/api")) == ["/ai/stream/start"]
    assert tried(spec, Call.UPDATE, Learnt("/api", "/stream/params")) == ["/ai/tune"]


def test_ai_runner_has_a_start_a_status_and_an_update_but_no_stop() -> None:
    spec = StreamSpec(post_starts_stream=True, route_prefix=None)
    assert places(model(spec, "/own"), Call.START, Learnt()) == (Place("/own"),)
    assert places(model(spec), Call.STATUS, Learnt()) == (Place("/api/status", AI_RUNNER_PORT),)
    assert places(model(spec), Call.UPDATE, Learnt()) == (Place("/api/params", AI_RUNNER_PORT),)
    assert places(model(spec), Call.STOP, Learnt()) == ()


@pytest.mark.parametrize("name", PROFILES)
def test_each_profile_with_streams_has_somewhere_to_start_one(name: str) -> None:
    spec = PROFILES[name].stream
    for call in Call:
        found = places(model(spec), call, Learnt())
        if has_streams(spec):
            assert found or call is Call.STOP
        assert all(place.path.startswith("/") for place in found)


@given(st.sampled_from(Call), st.sampled_from(["auto", "", "/api"]), st.sampled_from(["auto", "/stream/params"]))
def test_what_is_learnt_at_a_place_leads_to_that_place_again(call: Call, prefix: str, update: str) -> None:
    spec = StreamSpec(route_prefix=prefix, update_path=update)
    for place in places(model(spec), call, Learnt()):
        again = places(model(spec), call, Learnt(place.prefix, place.update_path))
        assert [each.path for each in again] == [place.path]
