"""Which model a request is for, and which headers pass."""

from __future__ import annotations

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, Model
from orchd.errors import Code, JobRefused
from orchd.jobs.request import (
    HOP_BY_HOP,
    NAMED_AT_MOST,
    AskBody,
    Header,
    Headers,
    HealthAsked,
    Route,
    ToRunner,
    request_id,
    route,
    to_caller,
    to_runner,
)
from tests.jobs.fakes import a_model

IMAGE_ONE, IMAGE_TWO = ModelKey("image", "org/one"), ModelKey("image", "org/two")
TINT = ModelKey("live-video-to-video", "tint")
ACCENT = ModelKey("llm", "模型 é/x")
MODELS: dict[ModelKey, Model] = {key: a_model(key) for key in (IMAGE_ONE, IMAGE_TWO, TINT, ACCENT)}


def latin(text: str) -> str:
    """What a UTF-8 header value looks like, one character a byte."""
    return text.encode().decode("latin-1")


@pytest.mark.parametrize(
    ("method", "target", "headers", "found"),
    [
        ("POST", "/image", [("X-Model-Id", "org/one")], ToRunner(IMAGE_ONE, "/image")),
        ("POST", "/image", [("x-model-id", "org/two")], ToRunner(IMAGE_TWO, "/image")),
        ("POST", "/image?a=%20&b", [("X-Model-Id", "org/one")], ToRunner(IMAGE_ONE, "/image?a=%20&b")),
        ("POST", "/image?", [("X-Model-Id", "org/one")], ToRunner(IMAGE_ONE, "/image?")),
        ("POST", "/live-video-to-video", [], ToRunner(TINT, "/live-video-to-video")),
        ("POST", "/live/video-to-video", [], ToRunner(TINT, "/live-video-to-video")),
        ("POST", "/live%2Fvideo-to-video", [], ToRunner(TINT, "/live-video-to-video")),
        ("POST", "http://orchd.test:1/live/video-to-video?x", [], ToRunner(TINT, "/live-video-to-video?x")),
        ("POST", "/llm", [("X-Model-Id", latin("模型 é/x"))], ToRunner(ACCENT, "/llm")),
        ("POST", "/image", [], AskBody(frozenset({"image"}))),
        ("POST", "/image", [("X-Model-Id", "")], AskBody(frozenset({"image"}))),
        ("GET", "/models/image/org%2Fone/", [], ToRunner(IMAGE_ONE, "/")),
        ("GET", "/models/image/org%2Fone", [], ToRunner(IMAGE_ONE, "/")),
        ("PUT", "/models/image/org%2fone/a/../b%2F?q=%41#x", [], ToRunner(IMAGE_ONE, "/a/../b%2F?q=%41#x")),
        ("GET", "/models/image/org%2Fone//x?", [], ToRunner(IMAGE_ONE, "//x?")),
        ("GET", "/models/llm/%E6%A8%A1%E5%9E%8B%20%C3%A9%2Fx/v1", [], ToRunner(ACCENT, "/v1")),
        ("GET", "/models/image/org%2Fone/health", [], HealthAsked(IMAGE_ONE)),
        ("GET", "/models/image/org%2Fone/health?x=1", [], HealthAsked(IMAGE_ONE)),
        ("GET", "/models/image/org%2Fone/health/", [], ToRunner(IMAGE_ONE, "/health/")),
        ("GET", "http://orchd.test/models/image/org%2Fone/x", [], ToRunner(IMAGE_ONE, "/x")),
    ],
)
def test_a_request_finds_its_model(method: str, target: str, headers: list[Header], found: Route) -> None:
    assert route(method, target, tuple(headers), MODELS) == found


@pytest.mark.parametrize(
    ("method", "target", "headers", "code"),
    [
        ("POST", "/image", [("X-Model-Id", "org/ONE")], Code.UNKNOWN_MODEL),
        ("POST", "/image", [("X-Model-Id", "\xff")], Code.UNKNOWN_MODEL),
        ("POST", "/Image", [], Code.UNKNOWN_MODEL),
        ("POST", "/image/", [("X-Model-Id", "org/one")], Code.UNKNOWN_MODEL),
        ("POST", "/", [], Code.UNKNOWN_MODEL),
        ("GET", "/image", [("X-Model-Id", "org/one")], Code.UNKNOWN_MODEL),
        ("OPTIONS", "*", [], Code.UNKNOWN_MODEL),
        ("POST", "/image", [("X-Model-Id", "org/one"), ("X-Model-Id", "org/two")], Code.BAD_REQUEST),
        ("GET", "/models/image/org/one/x", [], Code.UNKNOWN_MODEL),
        ("GET", "/models/", [], Code.UNKNOWN_MODEL),
        ("GET", "/models/image/%FF/x", [], Code.UNKNOWN_MODEL),
    ],
)
def test_a_request_for_nothing_that_is_here_is_refused(
    method: str, target: str, headers: list[Header], code: Code
) -> None:
    with pytest.raises(JobRefused) as caught:
        route(method, target, tuple(headers), MODELS)
    assert caught.value.code is code
    assert caught.value.message.startswith("cannot ")


def test_an_exact_pipeline_wins_over_an_alias() -> None:
    exact, alias = ModelKey("a-b", "m"), ModelKey("a/b", "m")
    models = {alias: a_model(alias), exact: a_model(exact)}
    assert route("POST", "/a/b", (), models) == ToRunner(alias, "/a/b")
    assert route("POST", "/a-b", (), models) == ToRunner(exact, "/a-b")


def test_the_404_names_what_is_offered_but_not_without_end() -> None:
    models = {key: a_model(key) for key in (ModelKey("p", f"m{n:03}") for n in range(100))}
    with pytest.raises(JobRefused) as caught:
        route("POST", "/q" * 5000, (), models)
    assert "p/m000" in caught.value.message
    assert f"and {100 - NAMED_AT_MOST} more" in caught.value.message
    assert len(caught.value.message) < 1000
    with pytest.raises(JobRefused) as caught:
        route("POST", "/q", (), {})
    assert "no model is offered" in caught.value.message


def test_an_inference_path_that_is_no_url_is_encoded() -> None:
    models = {IMAGE_ONE: a_model(IMAGE_ONE, inference=InferenceSpec("/mo dèle%20"))}
    assert route("POST", "/image", (), models) == ToRunner(IMAGE_ONE, "/mo%20d%C3%A8le%20")


def test_headers_to_the_runner_keep_order_duplicates_case_and_bytes() -> None:
    headers = (
        ("Host", "orchd.test"),
        ("x-B", "1"),
        ("Accept", "*/*"),
        ("X-b", "\xff\x80"),
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "gone"),
        ("Cookie", "a=b"),
        ("Authorization", "Bearer caller"),
        ("Livepeer", "e30="),
        ("LIVEPEER-Payment", "x"),
        ("livepeer_payment", "x"),
        ("Expect", "100-continue"),
        ("Content-Length", "3"),
        ("Transfer-Encoding", "chunked"),
        ("Upgrade", "h2c"),
        ("X-Livepeer-Note", "stays"),
    )
    kept = (("x-B", "1"), ("Accept", "*/*"), ("X-b", "\xff\x80"), ("Cookie", "a=b"), ("X-Livepeer-Note", "stays"))
    assert to_runner(headers) == kept
    assert to_runner(headers, token="t0ken") == (*kept, ("Authorization", "Bearer t0ken"))
    allowed = to_runner(headers, allow=frozenset({"livepeer-payment"}))
    assert [name for name, _ in allowed if "ayment" in name] == ["LIVEPEER-Payment", "livepeer_payment"]


def test_an_upgrade_passes_as_one() -> None:
    headers = (("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "k"))
    passed = to_runner(headers, upgrade="websocket")
    assert passed == (("Sec-WebSocket-Key", "k"), ("Connection", "Upgrade"), ("Upgrade", "websocket"))


def test_headers_to_the_caller_keep_all_but_those_of_the_connection() -> None:
    headers = (
        ("Content-Length", "3"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("Connection", "close, X-Hop, Content-Length"),
        ("X-Hop", "gone"),
        ("Keep-Alive", "timeout=5"),
        ("livepeer-request-id", "the runner's"),
        ("WWW-Authenticate", "Basic"),
    )
    assert to_caller(headers, request_id="ours") == (
        ("Content-Length", "3"),
        ("Set-Cookie", "a"),
        ("Set-Cookie", "b"),
        ("WWW-Authenticate", "Basic"),
        ("Livepeer-Request-Id", "ours"),
    )
    both = (("Transfer-Encoding", "chunked"), ("Content-Length", "3"))
    assert to_caller(both, request_id="ours") == (("Livepeer-Request-Id", "ours"),)


NAMES = st.one_of(
    st.sampled_from(
        [*HOP_BY_HOP, "host", "expect", "content-length", "authorization", "livepeer", "livepeer-payment", "x-a", "x-b"]
    ),
    st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=12),
)


@settings(deadline=None)
@given(st.lists(st.tuples(NAMES, st.one_of(NAMES, st.text(string.printable[:95], max_size=12))), max_size=12))
def test_nothing_secret_and_nothing_of_the_connection_passes_and_all_else_does(given_headers: list[Header]) -> None:
    headers: Headers = tuple(
        (name.upper() if index % 2 else name, value) for index, (name, value) in enumerate(given_headers)
    )
    hops = {
        token.strip().lower() for name, value in headers if name.lower() == "connection" for token in value.split(",")
    }

    def must_go(name: str) -> bool:
        plain = name.lower()
        secret = plain.replace("_", "-")
        return (
            plain in HOP_BY_HOP
            or plain in {"host", "expect", "content-length"}
            or plain in hops
            or secret in {"authorization", "livepeer"}
            or secret.startswith("livepeer-")
        )

    assert to_runner(headers) == tuple(pair for pair in headers if not must_go(pair[0]))


@pytest.mark.parametrize("sane", ["a", "a" * 64, "!~", "job-1/2"])
def test_a_sane_request_id_is_kept(sane: str) -> None:
    assert request_id((("livepeer-request-ID", sane),)) == sane


@pytest.mark.parametrize("odd", ["", "a" * 65, "a b", "\x7f", "\xe9", "a\t"])
def test_any_other_request_id_is_replaced(odd: str) -> None:
    made = request_id((("Livepeer-Request-Id", odd),))
    assert len(made) == 32
    assert made != request_id(())
