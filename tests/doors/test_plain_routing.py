"""Which model a direct caller's request is for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, Model
from orchd.doors.plain import routing as reading
from orchd.doors.plain.routing import MAX_NAME_LENGTH, MAX_NAMED, route
from orchd.doors.routes import AskBody, HealthAsked, Route, ToRunner
from orchd.errors import Code, JobRefused
from orchd.http1.names import Header
from tests.jobs.model import a_model

IMAGE_ONE, IMAGE_TWO = ModelKey("image", "org/one"), ModelKey("image", "org/two")
TINT = ModelKey("live-video-to-video", "tint")
ACCENT = ModelKey("llm", "模型 é/x")
MODELS: dict[ModelKey, Model] = {key: a_model(key) for key in (IMAGE_ONE, IMAGE_TWO, TINT, ACCENT)}


Pairs = list[tuple[str, str]]


def as_bytes(headers: Sequence[tuple[str, str]]) -> list[Header]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]


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
def test_a_request_finds_its_model(method: str, target: str, headers: Pairs, found: Route) -> None:
    assert route(method.encode(), target, as_bytes(headers), MODELS) == found


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
def test_a_request_for_nothing_that_is_here_is_refused(method: str, target: str, headers: Pairs, code: Code) -> None:
    with pytest.raises(JobRefused) as caught:
        route(method.encode(), target, as_bytes(headers), MODELS)
    assert caught.value.code is code
    assert caught.value.message.startswith("cannot ")


def test_an_exact_pipeline_wins_over_an_alias() -> None:
    exact, alias = ModelKey("a-b", "m"), ModelKey("a/b", "m")
    models = {alias: a_model(alias), exact: a_model(exact)}
    assert route(b"POST", "/a/b", (), models) == ToRunner(alias, "/a/b")
    assert route(b"POST", "/a-b", (), models) == ToRunner(exact, "/a-b")


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("POST", "/imgae", []),
        ("POST", "/image", [("X-Model-Id", "org/oen")]),
        ("POST", "/models/image/org%2Foen/x", []),
        ("POST", "/models/image/ORG%2FONE/x", []),
        ("GET", "/image/org/one", []),
    ],
)
def test_the_404_names_the_nearest_model_first(method: str, target: str, headers: Pairs) -> None:
    with pytest.raises(JobRefused) as caught:
        route(method.encode(), target, as_bytes(headers), MODELS)
    assert caught.value.code is Code.UNKNOWN_MODEL
    assert f": did you mean {IMAGE_ONE}? offered here: " in caught.value.message


def test_the_404_names_what_is_offered_but_not_without_end() -> None:
    models = {key: a_model(key) for key in (ModelKey("p", f"m{n:03}") for n in range(100))}
    with pytest.raises(JobRefused) as caught:
        route(b"POST", "/q" * 5000, (), models)
    assert "p/m000" in caught.value.message
    assert f"and {100 - MAX_NAMED} more" in caught.value.message
    assert len(caught.value.message) < 1000
    with pytest.raises(JobRefused) as caught:
        route(b"POST", "/q", (), {})
    assert "no model is offered" in caught.value.message


def test_an_inference_path_that_is_no_url_is_encoded() -> None:
    models = {IMAGE_ONE: a_model(IMAGE_ONE, inference=InferenceSpec("/mo dèle%20"))}
    assert route(b"POST", "/image", (), models) == ToRunner(IMAGE_ONE, "/mo%20d%C3%A8le%20")


@pytest.mark.parametrize("target", ["/%b", "/models/%b/org%%2fone", "/models/image/%b"])
def test_a_name_that_is_too_long_for_a_model_is_not_decoded(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """To undo the escapes of a whole head would hold up others."""
    undone: list[int] = []

    def noted(text: str, **_: str) -> str:
        undone.append(len(text))
        return text

    monkeypatch.setattr(reading, "unquote", noted)
    with pytest.raises(JobRefused) as caught:
        route(b"POST", target.replace("%b", "%61" * 20_000), [], MODELS)
    assert caught.value.code is Code.UNKNOWN_MODEL
    assert sum(undone) <= 2 * MAX_NAME_LENGTH
