"""What a listener takes and what it does not, whatever a path looks like."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.origins import Origin
from orchd.doors.base import Door
from orchd.doors.entrance import Entrance
from orchd.doors.own import Answered, OwnAnswer
from orchd.doors.routes import Route, Served
from orchd.errors import Code, JobRefused
from orchd.http1.rules import RequestHead


class TokenDoor(Door):
    """Answers one path itself."""

    name = "token"
    origin = Origin.DIRECT
    public = True

    def takes(self, path: str) -> bool:
        return path == "/process/token" or path.startswith("/process/request/")

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        return OwnAnswer("token", lambda asked: Answered(200, b"{}"))


def entered(target: str, base_path: str = "") -> bool:
    """Return whether some door takes it."""
    entrance = Entrance((TokenDoor(),), base_path)
    try:
        entrance.enter(entrance.below(target))
    except JobRefused:
        return False
    return True


@pytest.mark.parametrize("base", ["", "/ai"])
def test_what_none_takes_is_unknown_and_not_quoted_as_it_may_hold_a_secret(base: str) -> None:
    entrance = Entrance((TokenDoor(),), base)
    with pytest.raises(JobRefused, match="nothing is served under its path here") as caught:
        entrance.enter(entrance.below("/live/slug/s3cret"))
    assert caught.value.code is Code.UNKNOWN_MODEL
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    ("base", "target", "taken"),
    [
        ("", "/process/token", True),
        ("", "/process/token?a=/b", True),
        ("", "http://evil.test/process/token", True),
        ("", "/process/request/x", True),
        ("/ai", "/ai/process/token", True),
        ("/ai", "https://h:1/ai/process/token?x", True),
        ("/ai", "/process/token", False),
        ("/ai", "/aiprocess/token", False),
        ("/ai", "/AI/process/token", False),
        ("/ai", "//ai/process/token", False),
        ("/ai", "/%61i/process/token", False),
        ("/ai", "/ai", False),
        ("/ai", "/ai?/process/token", False),
        ("", "*", False),
    ],
)
def test_a_path_is_taken_below_the_base_path_byte_for_byte(base: str, target: str, taken: bool) -> None:
    assert entered(target, base) is taken


PRIVATE = (
    *("/models", "/models/image/org%2Fone/x", "/text-to-image", "/live/slug/segment/x", "/byoc/slug/x"),
    *("/healthz", "/readyz", "/status", "/metrics", "/api/stream/start", "/stream/start", "/"),
)
ENCODINGS = (
    str,
    lambda path: quote(path, safe=""),
    lambda path: quote(path),
    lambda path: "".join(f"%{ord(char):02x}" for char in path),
    lambda path: path.replace("/", "//"),
    lambda path: path.replace("/", "\\"),
    str.upper,
    lambda path: f"{path};a=b",
)
AROUND = ("", "http://h", "https://h:8443", "//h", "/process/token/..", "/process/token/../..", "/process", "/.", "*")


@given(
    st.sampled_from(PRIVATE),
    st.sampled_from(ENCODINGS),
    st.sampled_from(AROUND),
    st.sampled_from(("", "?x=/process/token", "#x")),
)
def test_nothing_of_the_private_listeners_is_served_however_it_is_spelled(
    path: str, spelled: object, before: str, after: str
) -> None:
    assert callable(spelled)
    assert not entered(before + spelled(path) + after)


@given(st.text(st.characters(max_codepoint=255, exclude_characters=" \r\n"), max_size=60), st.sampled_from(["", "/ai"]))
def test_whatever_is_taken_is_one_of_the_doors_own_paths(target: str, base: str) -> None:
    if entered(target, base):
        assert "/process/" in target
