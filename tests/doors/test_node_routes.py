"""The node's routes: which model they name, and what its container is asked."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, Model
from orchd.domain.offer import NodeProgram
from orchd.domain.origins import Origin
from orchd.doors.byoc.door import ByocDoor
from orchd.doors.entrance import Entrance
from orchd.doors.listed import DOORS
from orchd.doors.routes import Beside, HealthAsked, Route, Served, ToRunner
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
STATIC, GO = Beside(asks_health=True), Beside(NodeProgram.GO_LIVEPEER)


class ServedOnce(Served):
    """With the slug of a model that has left."""

    def __init__(self, beside: Beside | None = None) -> None:
        super().__init__(MODELS, beside)
        self.slugs = SLUGS


def came_by(target: str) -> Origin:
    return Entrance(DOORS).enter(target).origin


def routed(target: str, beside: Beside | None = None) -> Route | None:
    """Return where a request of the node's goes; None = it is not the node's."""
    door = Entrance(DOORS).enter(target)
    head = RequestHead(b"POST", target.encode("latin-1"), "1.1", [(b"Host", b"x")])
    return door.route(head, target, ServedOnce(beside)) if door.of_node else None


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


def test_health_is_ours_on_live_runners_routes_alone_and_where_the_node_asks_for_it() -> None:
    asked = HealthAsked(IMAGE, IMAGE.slug, PROOF.encode())
    assert routed(f"/live/{IMAGE.slug}/{PROOF}/health", STATIC) == asked
    assert routed(f"/live/{IMAGE.slug}/{PROOF}/health?x", STATIC) == asked
    assert isinstance(routed(f"/live/{IMAGE.slug}/{PROOF}/health/deep", STATIC), ToRunner)
    assert isinstance(routed(f"/byoc/{IMAGE.slug}/health", STATIC), ToRunner)


@pytest.mark.parametrize("program", [None, *NodeProgram])
def test_the_containers_health_is_its_own_where_the_node_asks_for_none(program: NodeProgram | None) -> None:
    """A client's `GET {app_url}/health`."""
    way = routed(f"/live/{IMAGE.slug}/{PROOF}/health?deep=1", Beside(program))
    assert way == ToRunner(IMAGE, "/health?deep=1", IMAGE.slug, PROOF.encode())


@pytest.mark.parametrize("rest", ["llm/模型 é/x", "/llm/模型 é/x/", "llm/%E6%A8%A1%E5%9E%8B%20%C3%A9/x"])
def test_over_byoc_a_path_that_is_the_capabilitys_name_counts_as_none(rest: str) -> None:
    """The SDK's client posts to `/process/request/CAPABILITY`."""
    arrives = rest.encode().decode("latin-1")
    assert routed(f"/byoc/{LLM.slug}/{arrives}?a=1") == ToRunner(LLM, "/v1/chat%20completions?a=1", LLM.slug)
    named = Beside(capability="{model_id}")
    assert routed(f"/byoc/{LLM.slug}/{arrives}", named) == ToRunner(LLM, f"/{arrives}", LLM.slug)
    short = "模型 é/x".encode().decode("latin-1")
    assert routed(f"/byoc/{LLM.slug}/{short}", named) == ToRunner(LLM, "/v1/chat%20completions", LLM.slug)
    live = routed(f"/live/{LLM.slug}/{PROOF}/{arrives}")
    assert live == ToRunner(LLM, f"/{arrives}", LLM.slug, PROOF.encode())


def test_an_entrys_own_capability_name_counts_before_the_pattern() -> None:
    model = replace(MODELS[IMAGE], capability="v1/images")
    served = Served({IMAGE: model})
    for rest, target in (("v1/images", "/image"), ("image/org/one", "/image/org/one"), ("v1/images/x", "/v1/images/x")):
        head = RequestHead(b"POST", f"/byoc/{IMAGE.slug}/{rest}".encode(), "1.1", [(b"Host", b"x")])
        way = ByocDoor().route(head, head.target.decode(), served)
        assert way == ToRunner(IMAGE, target, IMAGE.slug)


@pytest.mark.parametrize(
    ("arrives", "meant"),
    [("/a%2520b/c?x=%2520", "/a%20b/c?x=%2520"), ("/price%252525", "/price%2525"), ("/a%21%5B%5D", "/a![]")],
)
def test_go_livepeers_second_escaping_is_undone_and_nothing_else(arrives: str, meant: str) -> None:
    for program in (None, *NodeProgram):
        way = routed(f"/live/{IMAGE.slug}/{PROOF}{arrives}", Beside(program))
        assert isinstance(way, ToRunner)
        assert way.target == (meant if program is NodeProgram.GO_LIVEPEER else arrives)
    assert routed(f"/byoc/{IMAGE.slug}{arrives}", GO) == ToRunner(IMAGE, arrives, IMAGE.slug)


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
    shown = f"{routed(f'/live/{IMAGE.slug}/{PROOF}/x')!r} {routed(f'/live/{IMAGE.slug}/{PROOF}/health', STATIC)!r}"
    assert PROOF not in shown


@given(st.text(st.characters(max_codepoint=0xFF), max_size=30))
def test_whatever_follows_a_slug_reaches_that_model_or_nobody(rest: str) -> None:
    way = routed(f"/byoc/{IMAGE.slug}/{rest}")
    assert isinstance(way, ToRunner)
    assert way.key == IMAGE
    assert way.target.startswith("/")
    assert unquote(way.target, "latin-1").count("?") >= rest.count("?")
