"""How paths may be read by servers behind orchd: no spelling leaves a base path, or reaches a stream by a plain job."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, StreamSpec
from orchd.doors.paths import climbs, decoded, meant, stream_route
from orchd.realtime.routes import StreamCall, call_of
from tests.jobs.model import a_model

TRANSCRIPTS = Path(__file__).parents[1] / "doubles" / "transcripts"
KEY = ModelKey("live-video-to-video", "tint")
STREAMING = a_model(KEY, stream=StreamSpec(post_starts_stream=True), inference=InferenceSpec("/live-video-to-video"))
ODD = "/ // .. . %2e %2E%2e %252e %25%32%65 %2f %5c \\ ; ;x %3b % ? %3f %23 %00 %09 %20"
WORDS = "a b%2f stream %73tream STOP stop api"
PIECES = st.sampled_from([*ODD.split(), *WORDS.split(), " ", "\xc0\xae", "%c0%ae", "%c0%af"])
PATHS = st.lists(PIECES, max_size=12).map(lambda pieces: "/" + "".join(pieces))


def servers(path: str) -> Iterator[list[str]]:
    """Return where servers of many kinds end up, as what is left of the path segment by segment; `..` = above it."""
    for times, slashes, parameters, merged, cut in itertools.product(range(4), *[(False, True)] * 4):
        read = path
        if parameters:
            read = re.sub(r";[^/]*", "", read)
        for _ in range(times):
            read = unquote(read, "latin-1")
        if cut:
            read = read.partition("?")[0].partition("#")[0]
        if slashes:
            read = read.replace("\\", "/")
        if parameters:
            read = re.sub(r";[^/]*", "", read)
        found: list[str] = []
        for segment in read.split("/")[1:]:
            if segment == "." or (merged and not segment):
                continue
            if segment != "..":
                found.append(segment)
            elif found and found[-1] != "..":
                found.pop()
            else:
                found.append("..")
        yield found


@given(PATHS)
@example("/a%252fb/../..")
@example("/a\\..\\..")
@example("/..;/x")
@example("/a//../..")
@example("/..%3fx")
@example("/;%3fa/..")
@example("/%3b%2fa/..")
def test_whatever_server_reads_it_a_path_that_passes_stays_below_its_root(path: str) -> None:
    if not climbs(path):
        for found in servers(path):
            assert ".." not in found, found


@pytest.mark.parametrize(
    "path",
    [
        "/..",
        "/../x",
        "/%2e%2e/x",
        "/%2E./x",
        "/..%2fx",
        "/..%2Fx",
        "/%2e%2e%2fx",
        "/..\\x",
        "/..%5cx",
        "/a/../../x",
        "/%252e%252e/x",
        "/%25252e%25252e%25252fx",
        "/..;a=1/x",
        "/a/..;/../x",
        "/.%2e;x",
        "//../x",
        "/./../x",
        "/a/%2e%2e/%2e%2e/x",
        "/%c0%ae%c0%ae/x",
        "/..%c0%afx",
        "/\xc0\xae\xc0\xae/x",
        "/..%00/x",
        "/..%20/x",
        "/..%3fx",
    ],
)
def test_dot_segments_climb_however_they_are_written(path: str) -> None:
    assert climbs(path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/chat/completions",
        "/a/../b",
        "/a/b/../..",
        "/...",
        "/..a",
        "/a..",
        "/a/..b/",
        "/%2e",
        "/a%2fb",
        "/a%20b",
        "/a;x=1/b",
        "//a",
        "/x?a=/../..".partition("?")[0],
        "/%E6%A8%A1",
        "/100%",
        "/%zz",
        "/a%25b",
        "/v1.0/.well-known",
    ],
)
def test_what_stays_inside_passes(path: str) -> None:
    assert not climbs(path)


@given(PATHS)
@example("/stream//../stop")
@example("/stream/;/../stop")
@example("/a%252fb/../stream/stop")
@example("/live-video-to-video;%2fx")
@example("/stream/%2e")
@example("/./stream/%2e")
@example("/api/stream/%2e%00")
@example("/stream/;a")
@example("/stream/%00")
@example("/stream/ ")
@example("/stream/%2f")
@example("/stream/\\")
@example("/api/str%65am/%5c")
@example("/stream%2f%5c")
def test_no_spelling_hides_a_stream_route(path: str) -> None:
    """Whichever server takes a path for a route of streams, orchd does."""
    if stream_route(STREAMING, b"POST", path):
        return
    for found in servers(path):
        names = [name.strip("\0 \t").lower() for name in found if name]
        assert not (len(names) > 1 and names[0] == "stream"), found
        assert not (len(names) > 2 and names[:2] == ["api", "stream"]), found
        assert names not in (["live-video-to-video"], ["live", "video-to-video"]), found


def recorded() -> list[tuple[str, str, str, bool]]:
    """Return what real nodes asked of workers over BYOC: recording, method, path, and whether it names a stream."""
    found = []
    for file in sorted(TRANSCRIPTS.glob("byoc-*.json")):
        for step in json.loads(file.read_text()):
            for asked in step.get("worker_requests", ()):
                named = any(name.lower() == "x-stream-id" and value for name, value in asked["headers"])
                found.append((file.name, asked["method"], asked["path"], named))
    return found


def test_what_real_nodes_ask_names_a_stream_exactly_where_the_route_is_one() -> None:
    asked = recorded()
    assert {named for *_, named in asked} == {True, False}
    for file, method, path, named in asked:
        assert stream_route(STREAMING, method.encode(), path) == named, (file, path)
        assert (call_of(STREAMING, method.encode(), path) is not None) == named, (file, path)


ROUTES = ["stream/start", "stream/stop", "stream/params", "stream/status", "api/stream/stop", "api/stream/any"]
ROUTES += ["live-video-to-video", "live/video-to-video"]


@given(st.sampled_from(ROUTES), st.data())
def test_a_stream_route_is_known_in_every_spelling(route: str, data: st.DataObject) -> None:
    spelled = "".join(
        data.draw(st.sampled_from([char, char.upper(), f"%{ord(char):02x}", f"%25{ord(char):02X}"])) for char in route
    )
    for name in sorted(
        {"/", *data.draw(st.lists(st.sampled_from(["/./", "//", "/x/../", "/;a/../", "\\"]), max_size=3))}
    ):
        spelled = spelled.replace("/", name, 1)
    before = data.draw(st.sampled_from(["/", "//", "/./", "/x/../", "/%2e/", "/x%2f..%2f", "/;p/"]))
    after = data.draw(st.sampled_from(["", "/", "//", "/.", ";x=1", "%20", "%3fa=b", "%23a"]))
    assert stream_route(STREAMING, b"POST", before + spelled + after)


@pytest.mark.parametrize("path", ["/", "/stream", "/streams/stop", "/v1/stream/x", "/infer", "/api", "/api/x", "/live"])
def test_other_routes_are_a_jobs(path: str) -> None:
    assert not stream_route(STREAMING, b"POST", path)
    assert not climbs(path)


def test_a_runners_own_routes_are_the_profiles() -> None:
    own = a_model(
        KEY,
        stream=StreamSpec(post_starts_stream=True, route_prefix="/v2", update_path="/tune"),
        inference=InferenceSpec("/go on/模型"),
    )
    for path in ("/v2/stream/start", "/v2/stream/anything", "/v2/tune", "/V2//tune/", "/go%20on/%E6%A8%A1%E5%9E%8B"):
        assert stream_route(own, b"POST", path), path
    assert not stream_route(own, b"POST", "/tune")
    assert not stream_route(own, b"GET", "/go%20on/%E6%A8%A1%E5%9E%8B"), "only a POST starts a stream there"
    batch = a_model(KEY, stream=StreamSpec(route_prefix=None), inference=InferenceSpec("/stream/x"))
    assert not any(stream_route(batch, b"POST", f"/{route}") for route in ROUTES), "it has no streams"


@pytest.mark.parametrize("path", ["/stream//stop", "/x/../stream/stop/", "/%73tream/stop", "/API/stream/STOP"])
def test_what_an_odd_spelling_means(path: str) -> None:
    assert meant(STREAMING, b"POST", path) is StreamCall.STOP
    assert meant(STREAMING, b"POST", "/stream/other") is None


@given(st.text(st.characters(max_codepoint=0xFF), max_size=40))
@example("%%32%65")
@example("%2525252e")
def test_decoding_ends_where_nothing_is_left_to_decode(text: str) -> None:
    plain = decoded(text)
    again = text
    for _ in range(len(text)):
        again = unquote(again, "latin-1")
    for overlong, char in (("\xc0\xae", "."), ("\xc0\xaf", "/"), ("\xc1\x9c", "\\")):
        again = again.replace(overlong, char)
    assert plain == again
