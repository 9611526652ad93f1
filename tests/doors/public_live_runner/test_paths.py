"""What a path of Live Runner's clients asks for, and that no spelling leads round a check."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.doors.paths import MAX_PATH_LENGTH, dotted
from orchd.doors.public_live_runner.paths import Asks, ClientPath, app_path, cleaned, read_path


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/discovery", ClientPath(Asks.DISCOVERY)),
        ("/refresh-payment", ClientPath(Asks.REFRESH)),
        ("/apps/x/session", ClientPath(Asks.RESERVE, "x")),
        ("/apps/x/session/s/stop", ClientPath(Asks.STOP, "x", "s")),
        ("/apps/x/session/s/payment", ClientPath(Asks.TOP_UP, "x", "s")),
        ("/apps/x/session/s/payment/refresh-payment", ClientPath(Asks.REFRESH, "x", "s")),
        ("/apps/x/session/s/app", ClientPath(Asks.IN_SESSION, "x", "s")),
        ("/apps/x/session/s/app/", ClientPath(Asks.IN_SESSION, "x", "s")),
        ("/apps/x/session/s/app/a%2Fb//c", ClientPath(Asks.IN_SESSION, "x", "s", "a%2Fb//c")),
        ("/apps/x/app", ClientPath(Asks.SINGLE_SHOT, "x")),
        ("/apps/x/app/session/s/app/y", ClientPath(Asks.SINGLE_SHOT, "x", rest="session/s/app/y")),
    ],
)
def test_the_routes_that_clients_know(path: str, asked: ClientPath) -> None:
    assert read_path(path) == asked


@pytest.mark.parametrize(
    "path",
    [
        *("", "/", "*", "/discovery/", "//discovery", "/Discovery", "/%64iscovery", "/refresh-payment/x"),
        *("/apps", "/apps/", "/apps//session", "/apps/x", "/apps/x/", "/apps/x/session/", "/apps/x/session/s"),
        *("/apps/x/session/s/", "/apps/x/session//app", "/apps/x//session", "/apps/x/session/s/stop/", "/apps/x/appx"),
        *(
            "/apps/x/session/s/apps",
            "/apps/x/./session",
            "/apps/../apps/x/session",
            "/x/apps/x/session",
            "/apps/x%2Fapp",
        ),
    ],
)
def test_a_path_that_is_spelled_in_another_way_asks_for_nothing(path: str) -> None:
    assert read_path(path) is None


@given(st.lists(st.sampled_from(["apps", "x", "session", "s", "app", "stop", "", ".", "..", "%2e%2E", "a%2Fb"])))
def test_whatever_the_segments_the_words_before_the_runners_own_are_just_those_of_a_route(segments: list[str]) -> None:
    path = "/" + "/".join(segments)
    asked = read_path(path)
    if asked is None or asked.asks not in (Asks.IN_SESSION, Asks.SINGLE_SHOT):
        return
    root = app_path(asked.slug, asked.session)
    assert path in (root, f"{root}/{asked.rest}")
    assert "/" not in asked.slug + asked.session


@pytest.mark.parametrize(
    ("rest", "without"),
    [
        *(("", ""), ("a/b", "a/b"), ("a/", "a/"), ("a//b", "a/b"), ("/lead", "lead"), ("./a", "a"), ("a/./b", "a/b")),
        *(("a/.", "a/"), ("//", ""), ("a.b/c..d", "a.b/c..d"), ("a/../b", "a/../b"), ("a%2Fb", "a%2Fb")),
    ],
)
def test_empty_segments_and_plain_dots_are_taken_out_and_nothing_else(rest: str, without: str) -> None:
    assert cleaned(rest) == without


@pytest.mark.parametrize(
    "path", ["..", "a/..", "%2e%2e/up", "a/%2E./b", "a%2f..%2fb", "%252e%252e", "a\\..\\b", ".%00", "a/..;x", "%c0%ae."]
)
def test_dot_segments_are_seen_however_they_are_written(path: str) -> None:
    assert dotted(path)


@pytest.mark.parametrize("path", ["", "a", "a.b", "...", "a/b..c/d", "a%20b/c%2Fd", "x" * (2 * MAX_PATH_LENGTH)])
def test_other_dots_are_none(path: str) -> None:
    assert not dotted(path)


@given(st.text("./%2eEfF\\a;", max_size=40))
def test_what_has_no_dot_segments_climbs_for_no_server_that_decodes_it_once_or_twice(path: str) -> None:
    if dotted(path):
        return
    for read in (path, unquote(path), unquote(unquote(path))):
        assert not {".", ".."} & {segment for piece in read.split("/") for segment in piece.split("\\")}


def test_a_long_path_with_escapes_is_not_read_but_counts_as_dotted() -> None:
    assert dotted("%41" * MAX_PATH_LENGTH)
