"""Who may ask: the node, by what only it was told, and others where the operator says so. Never a 401."""

from __future__ import annotations

import json

import pytest
import structlog

from orchd.domain.ids import ModelKey
from orchd.doors.routes import Beside
from orchd.errors import Code
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.node.route_secrets import RouteSecrets
from orchd.tickets.node_token import NodeToken
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import ONE, UPGRADE, refused, request
from tests.jobs.model import KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time

HOUR = 3600.0
OTHER = ModelKey("image", "org/two")
BYOC = f"/byoc/{KEY.slug}"
WRONG = "a" * 52


class Admission(FakeHook):
    """The real one, in the place of a fake."""

    def __init__(self, *, direct: bool = False) -> None:
        super().__init__()
        self.now = 1e6
        self.secrets = RouteSecrets("11" * 32, HOUR, lambda: self.now)
        self.real = NodeToken(self.secrets, direct=direct)

    def identify(self, job: Job) -> Waits:
        self.identified.append(job)
        return self.real.identify(job)

    def told(self, key: ModelKey = KEY) -> tuple[str, str]:
        """The node is registered: return the header that it sends from now on."""
        period = self.secrets.period()
        self.secrets.told(key.slug, period)
        return "Authorization", f"Bearer {self.secrets.token(key.slug, period).value}"

    def live(self, key: ModelKey = KEY) -> str:
        return f"/live/{key.slug}/{self.secrets.segment(key.slug).value}"


def beside_node(*, direct: bool = False) -> tuple[Bench, Admission]:
    admission = Admission(direct=direct)
    return Bench(models=(a_model(), a_model(OTHER)), hooks=[admission]), admission


def code_of(caller: FakeTransport) -> Code:
    (message,) = caller.messages
    return refused(message)


@virtual_time
async def test_a_job_of_the_nodes_is_served_and_its_token_goes_no_further() -> None:
    bench, admission = beside_node()
    caller = await bench.serve(request(admission.told(), target=BYOC, body=b"x"))
    assert caller.messages[0].status == 200
    caller = await bench.serve(request(target=f"{admission.live()}/image", body=b"x"))
    assert caller.messages[0].status == 200
    for asked in bench.network.requests:
        assert asked.first == "POST /image HTTP/1.1"
        assert asked.header("Authorization") is None


@pytest.mark.parametrize(
    "given",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", f"Bearer {WRONG}")],
        [("Authorization", "Basic abc")],
        [("Authorization", "Bearer \xff")],
    ],
)
def test_a_wrong_token_is_403_and_takes_no_slot(given: list[tuple[str, str]]) -> None:
    """The node drops a model at a 401 (byoc.md 5.6)."""

    @virtual_time
    async def run() -> None:
        bench, admission = beside_node()
        admission.told()
        assert code_of(await bench.serve(request(*given, target=BYOC))) is Code.FORBIDDEN
        assert bench.network.dialled == []
        assert bench.table.begun(KEY) == 0

    run()


@virtual_time
async def test_the_token_of_another_model_is_a_wrong_one() -> None:
    bench, admission = beside_node()
    admission.told()
    assert code_of(await bench.serve(request(admission.told(OTHER), target=BYOC))) is Code.FORBIDDEN
    target = f"/live/{KEY.slug}/{admission.secrets.segment(OTHER.slug).value}/image"
    assert code_of(await bench.serve(request(target=target))) is Code.FORBIDDEN


@virtual_time
async def test_a_token_does_not_open_live_runners_routes_nor_a_segment_the_other_ones() -> None:
    bench, admission = beside_node()
    name, token = admission.told()
    target = f"/live/{KEY.slug}/{token.removeprefix('Bearer ')}/image"
    assert code_of(await bench.serve(request((name, token), target=target))) is Code.FORBIDDEN
    segment = admission.secrets.segment(KEY.slug).value
    assert code_of(await bench.serve(request((name, f"Bearer {segment}"), target=BYOC))) is Code.FORBIDDEN


@virtual_time
async def test_no_job_is_refused_for_a_rotation() -> None:
    bench, admission = beside_node()
    for _ in range(5):
        former = admission.told()
        admission.now += HOUR
        late = await bench.serve(request(former, target=BYOC))
        current = admission.told()
        on_its_way = await bench.serve(request(former, target=BYOC))
        new = await bench.serve(request(current, target=BYOC))
        assert [caller.messages[0].status for caller in (late, on_its_way, new)] == [200, 200, 200]
        assert former != current
    admission.now += HOUR
    admission.told()
    assert code_of(await bench.serve(request(former, target=BYOC))) is Code.FORBIDDEN


@pytest.mark.parametrize("target", ["/image", f"{ONE}/image", f"{ONE}/v1/x?y"])
@pytest.mark.parametrize("direct", [False, True])
def test_direct_callers_are_served_where_the_operator_says_so(direct: bool, target: str) -> None:
    @virtual_time
    async def run() -> None:
        bench, _ = beside_node(direct=direct)
        caller = await bench.serve(request(("X-Model-Id", KEY.model_id), target=target, body=b"x"))
        if direct:
            assert caller.messages[0].status == 200
        else:
            assert code_of(caller) is Code.FORBIDDEN
            assert bench.network.dialled == []
            assert "allow_direct" in json.loads(caller.messages[0].body)["message"]

    run()


@virtual_time
async def test_direct_tunnels_and_upgrades_are_refused_too() -> None:
    bench, _ = beside_node()
    assert code_of(await bench.serve(UPGRADE)) is Code.FORBIDDEN


@virtual_time
async def test_allowing_direct_callers_opens_nothing_of_the_nodes() -> None:
    bench, admission = beside_node(direct=True)
    admission.told()
    for target in (BYOC, f"/live/{KEY.slug}/{WRONG}/image", f"/live/{KEY.slug}/{WRONG}/health"):
        assert code_of(await bench.serve(request(target=target))) is Code.FORBIDDEN


@virtual_time
async def test_the_nodes_health_check_needs_the_segment_and_follows_our_verdict() -> None:
    bench, admission = beside_node()
    bench.server.use_node(Beside(asks_health=True))
    health = request(target=f"{admission.live()}/health", method="GET")
    assert json.loads((await bench.serve(health)).messages[0].body) == {"status": "ok"}
    bench.health = False, "a slow probe"
    assert (await bench.serve(health)).messages[0].status == 200, "the node is told by its own verdict"
    bench.node_health = False
    assert code_of(await bench.serve(health)) is Code.NOT_READY
    wrong = await bench.serve(request(target=f"/live/{KEY.slug}/{WRONG}/health", method="GET"))
    assert code_of(wrong) is Code.FORBIDDEN
    assert bench.outcomes == [], "it is no job"


@virtual_time
async def test_anybody_may_ask_for_health_on_the_operators_side() -> None:
    bench, _ = beside_node()
    assert (await bench.serve(request(target=f"{ONE}/health", method="GET"))).messages[0].status == 200


@virtual_time
async def test_hooks_know_the_model_when_they_are_asked_about_health() -> None:
    bench, admission = beside_node()
    await bench.serve(request(target=f"{admission.live()}/health", method="GET"))
    assert [job.key for job in admission.identified] == [KEY]


@pytest.mark.parametrize("slug", ["none-01234567", OTHER.slug])
def test_a_model_that_has_left_is_503_before_anybody_is_asked_who_he_is(slug: str) -> None:
    @virtual_time
    async def run() -> None:
        bench, admission = beside_node()
        header = admission.told(OTHER)
        bench.models = {KEY: bench.models[KEY]}
        for target in (f"/byoc/{slug}", f"/byoc/{slug}/stream/stop", f"/live/{slug}/{WRONG}/health"):
            caller = await bench.serve(request(header, target=target))
            assert code_of(caller) is Code.NOT_OFFERED
        assert admission.identified == []

    run()


@pytest.mark.parametrize("prefix", ["", "http://orchd.test"])
@pytest.mark.parametrize(
    ("happens", "status"),
    [
        ("served", 200),
        ("unknown", 503),
        ("forbidden", 403),
        ("refused", 503),
        ("broken", 502),
        ("crashed", 500),
        ("malformed", 400),
    ],
)
def test_no_log_line_no_error_and_no_container_shows_a_secret(happens: str, status: int, prefix: str) -> None:
    @virtual_time
    async def run() -> None:
        bench, admission = beside_node()
        name, token = admission.told()
        segment = admission.secrets.segment(KEY.slug).value
        slug = OTHER.slug if happens == "forbidden" else KEY.slug
        extra = [("Transfer-Encoding", "gzip")] if happens == "malformed" else []
        if happens == "unknown":
            bench.models = {}
        if happens == "refused":
            bench.table.close(runner_of(KEY), Code.NOT_READY, "it rests")
        if happens == "broken":
            bench.network.fails = ConnectionRefusedError(111, "refused")
        if happens == "crashed":
            bench.handler._realtime = bench.handler._forward._carrier = None  # type: ignore[assignment]
        seen = ""
        with structlog.testing.capture_logs() as logs:
            for target in (f"/byoc/{slug}/x", f"/live/{slug}/{segment}/x", f"/live/{slug}/{segment}"):
                caller = await bench.serve(request((name, token), *extra, target=prefix + target, body=b"x"))
                assert caller.messages[0].status == status
                seen += caller.sent.decode("latin-1")
        seen += f"{logs} {bench.log.lines} {[(job, job.proof) for job in admission.identified]}"
        seen += "".join(end.sent.decode("latin-1") for end in bench.network.ends)
        assert segment not in seen
        assert token.removeprefix("Bearer ") not in seen

    run()
