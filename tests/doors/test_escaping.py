"""go-livepeer's second escaping is undone once, and that opens no way around what is checked of paths."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, StreamSpec
from orchd.doors.escaping import escaped_once
from orchd.doors.paths import climbs, decoded, meant, stream_route
from tests.jobs.model import a_model

GO_LEAVES = "$&+,/:;=@-._~"
"""What Go leaves as it is where it escapes a path (net/url, encodePath)."""
ESCAPED = [f"%{byte:02X}" for byte in range(256)]
AS_GO_HAS_IT = st.lists(st.sampled_from([*"abz09/.~-_!$&'()*+,;=:@[]", *ESCAPED]), max_size=20).map("".join)
"""Paths that a client has escaped: Go keeps these characters, and every escape."""
ATTACK = (
    "/ . .. %2e %252e %25252e %2f %252f %5c %255C %3f %253F %23 %00 %2500 %0d%0a %250D%250A %25 %2525 %c0%ae ; \\ ?"
)
WORDS = "a stream %73tream %2573tream start %2%35 %2 % %zz %25zz %21 %5B"
PATHS = st.lists(st.sampled_from([*ATTACK.split(), *WORDS.split(), " ", "\xe9"]), max_size=12).map("".join)
STREAMING = a_model(ModelKey("live-video-to-video", "tint"), stream=StreamSpec(), inference=InferenceSpec("/x"))


@given(AS_GO_HAS_IT)
@example("a%20b")
@example("price%2525")
@example("caf%C3%A9!*'()")
def test_what_the_client_has_escaped_comes_back_as_it_was(path: str) -> None:
    assert escaped_once(quote(path, safe=GO_LEAVES)) == path


@pytest.mark.parametrize("path", ["a%20b", "caf%C3%A9", "a%2Fb%2525", "100%25", "%25zz", "%2525%41", "", "plain/path"])
def test_a_path_that_was_not_escaped_twice_is_left_alone(path: str) -> None:
    """Such as one that came by a proxy URL, or by a release that escapes once."""
    assert escaped_once(path) == path


@given(PATHS)
def test_nothing_that_servers_look_for_in_a_path_comes_or_goes(path: str) -> None:
    once = escaped_once(path)
    for mark in "/.?#;\\ \r\n\0\xe9":
        assert once.count(mark) == path.count(mark)
    assert decoded(once) == decoded(path)


@given(PATHS)
def test_what_is_refused_of_a_path_is_refused_of_what_is_left(path: str) -> None:
    """What is passed on is checked, and no check judges it more mildly than what came."""
    came, left = f"/{path}", f"/{escaped_once(path)}"
    assert climbs(left) == climbs(came)
    assert meant(STREAMING, b"POST", left) == meant(STREAMING, b"POST", came)
    assert stream_route(STREAMING, b"POST", left) == stream_route(STREAMING, b"POST", came)
