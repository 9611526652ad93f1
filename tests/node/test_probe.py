"""Which program is beside us is read from one answer, and in doubt not at all."""

from __future__ import annotations

import pytest

from orchd.domain.offer import NodeProgram
from orchd.node.ports import NodeAnswer, NodeError, Probed
from orchd.node.probe import BODY, PATH, NoVerdict, is_busy, neither, read_probe
from tests.advertise.rig import client_of, livepeer_node, node, settings_for

GO, NODE = NodeProgram.GO_LIVEPEER, NodeProgram.LIVEPEER_NODE


def answered(status: int, body: str) -> NodeAnswer:
    return NodeAnswer(status, body.encode(), "")


@pytest.mark.parametrize(
    ("status", "body", "found"),
    [
        (401, '{"error":"invalid runner credential"}\n', Probed(NODE, live_runner=True)),
        (400, '{"error":"app and capacity between 1 and 10000 are required"}\n', Probed(NODE, live_runner=True)),
        (400, "invalid runner_url\n", Probed(GO, live_runner=True)),
        (404, "live runners are not supported\n", NoVerdict.NO_LIVE_RUNNER),
        (404, "404 page not found\n", NoVerdict.NO_LIVE_RUNNER),
        (503, '{"error":"server busy"}\n', NoVerdict.BUSY),
    ],
)
def test_an_answer_shows_the_program(status: int, body: str, found: Probed | NoVerdict) -> None:
    assert read_probe(answered(status, body)) == found


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, "{}"),
        (301, ""),
        (400 + 1, "unauthorized"),
        (403, '{"error":"no"}'),
        (500, "oops"),
        (502, "<html>Bad Gateway</html>"),
        (503, "Service Unavailable"),
    ],
)
def test_the_answer_of_another_program_is_quoted_beside_a_second_one(status: int, body: str) -> None:
    probe = answered(status, body)
    assert read_probe(probe) is NoVerdict.NEITHER
    error = neither(probe, "/discovery answered 404")
    assert error.message.startswith(f"cannot use what answers as a node: /runners/heartbeat answered {status}")
    assert error.message.endswith(", /discovery answered 404")


def test_a_base_path_that_is_not_the_nodes_is_told() -> None:
    with pytest.raises(NodeError, match=r"route not found.*ServiceURL.*orchestrator\.service_url"):
        read_probe(answered(404, '{"error":"route not found"}\n'))


@pytest.mark.parametrize(
    ("answer", "busy"),
    [
        (answered(503, '{"error":"server busy"}'), True),
        (answered(503, "Service Unavailable"), False),
        (answered(500, '{"error":"server busy"}'), False),
        (answered(503, '{"error":5}'), False),
        (answered(503, "[" * 5000), False),
    ],
)
def test_only_the_nodes_own_503_is_a_sign_of_life(answer: NodeAnswer, busy: bool) -> None:
    assert is_busy(answer) is busy


@pytest.mark.parametrize("live", [False, True])
async def test_go_livepeer_is_told_by_its_answer(live: bool) -> None:
    async with node(use_live_runners=live) as double, client_of(settings_for(double)) as client:
        found = read_probe(await client.service("POST", PATH, body=BODY))
        assert found == (Probed(GO, live_runner=True) if live else NoVerdict.NO_LIVE_RUNNER)
        assert not double.live_runners.offered()


async def test_livepeer_node_is_told_by_its_answer() -> None:
    async with livepeer_node() as double, client_of(settings_for(double)) as client:
        assert read_probe(await client.service("POST", PATH, body=BODY)) == Probed(NODE, live_runner=True)
        double.places.occupied["control"] = 64
        assert read_probe(await client.service("POST", PATH, body=BODY)) is NoVerdict.BUSY
