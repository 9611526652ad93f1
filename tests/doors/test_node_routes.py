"""The node's routes: which model they name, and what its container is asked."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, Model
from orchd.domain.origins import Origin
from orchd.doors.base import enter
from orchd.doors.listed import DOORS
from orchd.doors.routes import HealthAsked, Route, Served, ToRunner
from orchd.errors import Code, JobRefused
from orchd.http1.rules import RequestHead
from tests.jobs.model import a_model

IMAGE, LIVE, LLM = ModelKey("image", "org/one"), ModelKey("live-video-to-video", "tint"), ModelKey("llm", "模型 é/x")
GONE = ModelKey("image", "gone")
MODELS: dict[ModelKey, Model] = {
    IMAGE: a_model(IMAGE),
    LIVE: a_model(LIVE),
    LLM: a_model(LLM, inference=InferenceSpec("/v1/chat completions")),
}
SLUGS = {key.slug: key for key in (*MODELS, GONE)}
PROOF = "s3cret"


class ServedOnce(Served):
    """With the slug of a model that has left."""

    def __init__(self) -> None:
        super().__init__(MODELS)
        self.slugs = SLUGS


def came_by(target: str) -> Origin:
    return enter(DOORS, target).origin


def routed(target: str) -> Route | None:
    """Return where a request of the node's goes; None = it is not the node's."""
    door = enter(DOORS, target)
    head = RequestHead(b"POST", target.encode("latin-1"), "1.1", [(b"Host", b"x")])
    return door.route(head, target, ServedOnce()) if door.of_node else None


@pytest.mark.parametrize(
    ("key", "rest", "target"),
    [
        (IMAGE, "", "/image"),
        (IMAGE, "/", "/image"),
        (IMAGE, "/image", "/image"),
        (IMAGE, "/image/", "/image"),
        (LIVE, "", "/live-video-to-video"),
        (LIVE, "/live/video-to-video", "/live-video-to-video"),
        (LIVE, "/stream/start", "/stream/start"),
        (LIVE, "/stream/stop", "/stream/stop"),
        (LIVE, "/api/stream/status", "/api/stream/status"),
        (LLM, "", "/v1/chat%20completions"),
        (LLM, "/v1/models", "/v1/models"),
        (IMAGE, "/a/../b//c/", "/a/../b//c/"),
        (IMAGE, "/%E6%A8%A1 \xe9", "/%E6%A8%A1 \xe9"),
    ],
)
@pytest.mark.parametrize("query", ["", "?a=1&b=%20?"])
def test_a_slug_names_the_model_and_the_rest_is_the_containers(
    key: ModelKey, rest: str, target: str, query: str
) -> None:
    byoc, live = f"/byoc/{key.slug}", f"/live/{key.slug}/{PROOF}"
    assert routed(byoc + rest + query) == ToRunner(key, target + query, key.slug)
    assert routed(live + rest + query) == ToRunner(key, target + query, key.slug, PROOF.encode())
    assert (came_by(byoc + rest + query), came_by(live + rest + query)) == (Origin.BYOC, Origin.LIVE_RUNNER)


def test_health_is_ours_on_live_runners_routes_alone() -> None:
    asked = HealthAsked(IMAGE, IMAGE.slug, PROOF.encode())
    assert routed(f"/live/{IMAGE.slug}/{PROOF}/health") == asked
    assert routed(f"/live/{IMAGE.slug}/{PROOF}/health?x") == asked
    assert isinstance(routed(f"/live/{IMAGE.slug}/{PROOF}/health/deep"), ToRunner)
    assert isinstance(routed(f"/byoc/{IMAGE.slug}/health"), ToRunner)


@pytest.mark.parametrize("slug", [GONE.slug, "none-01234567", "", "IMAGE-ORG-ONE", "%2e", "x" * 5000, "\xff"])
@pytest.mark.parametrize("rest", ["", "/stream/start", "/health"])
def test_a_model_that_is_not_served_is_503_and_not_404(slug: str, rest: str) -> None:
    for target in (f"/byoc/{slug}{rest}", f"/live/{slug}/{PROOF}{rest}"):
        with pytest.raises(JobRefused, match=r"^cannot serve .*no such model is offered") as caught:
            routed(target)
        assert (caught.value.code, caught.value.status) == (Code.NOT_OFFERED, 503)
        assert PROOF not in caught.value.message
        assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "target", ["/image", "/", "", "*", "/byoc", "/live", "/live/video-to-video", "/models/image/org%2Fone/x"]
)
def test_all_else_is_not_the_nodes(target: str) -> None:
    """`/live/video-to-video` is how the documents spell a pipeline (container.md 1.3)."""
    assert routed(target) is None


def test_an_absolute_url_is_understood_as_well() -> None:
    """A proxy between node and orchd may be told so; it must not end as an unknown path that is quoted in an error."""
    assert routed(f"http://orchd.test:8737/live/{IMAGE.slug}/{PROOF}/x") == routed(f"/live/{IMAGE.slug}/{PROOF}/x")
    assert routed(f"http://orchd.test/byoc/{IMAGE.slug}") == routed(f"/byoc/{IMAGE.slug}")


def test_a_way_does_not_show_its_proof() -> None:
    shown = f"{routed(f'/live/{IMAGE.slug}/{PROOF}/x')!r} {routed(f'/live/{IMAGE.slug}/{PROOF}/health')!r}"
    assert PROOF not in shown


@given(st.text(st.characters(max_codepoint=0xFF), max_size=30))
def test_whatever_follows_a_slug_reaches_that_model_or_nobody(rest: str) -> None:
    way = routed(f"/byoc/{IMAGE.slug}/{rest}")
    assert isinstance(way, ToRunner)
    assert way.key == IMAGE
    assert way.target.startswith("/")
    assert unquote(way.target, "latin-1").count("?") >= rest.count("?")
