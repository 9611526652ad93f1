"""What each node program means by its answers, and what a person is told of them."""

from __future__ import annotations

import json

import pytest

from orchd.advertise.live_runner import refusals
from orchd.advertise.live_runner.dialects import spoken_by
from orchd.advertise.live_runner.dialects.dialect import Dialect, unregistered
from orchd.advertise.live_runner.states import ListingEvent
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeProgram, NodeStatus
from orchd.errors import Code
from orchd.node.ports import NodeAnswer
from tests.advertise.price_cases import TRANSCRIPTS

E = ListingEvent
GO_LIVEPEER = spoken_by(NodeStatus(program=NodeProgram.GO_LIVEPEER))
LIVEPEER_NODE = spoken_by(NodeStatus(program=NodeProgram.LIVEPEER_NODE))
KEY = ModelKey("llm", "acme/m")


def test_a_node_that_was_not_seen_yet_is_taken_for_go_livepeer() -> None:
    assert spoken_by(NodeStatus()) is GO_LIVEPEER


def test_go_livepeers_refusals_are_read_by_status_words_and_the_secret_that_was_sent() -> None:
    heard = GO_LIVEPEER.heard
    assert heard(401, "invalid registration authorization", beating=True) is E.UNKNOWN
    assert heard(401, "invalid registration authorization", beating=False) is E.REFUSED
    assert heard(401, "invalid heartbeat authorization", beating=True) is E.OTHER_SECRET
    assert heard(401, "invalid heartbeat authorization", beating=False) is E.OTHER_SECRET
    assert heard(404, "runner not found", beating=False) is E.EXPIRED
    assert heard(404, "dynamic live runner registration is disabled", beating=False) is E.REFUSED
    assert heard(404, "live runners are not supported", beating=True) is E.REFUSED
    assert heard(400, "invalid runner_url", beating=True) is E.REFUSED
    assert heard(500, "fault", beating=True) is E.SILENCE


@pytest.mark.parametrize("said", ["invalid runner credential", "invalid heartbeat authorization", ""])
def test_livepeer_nodes_refusals_are_read_by_what_was_sent_and_never_by_their_words(said: str) -> None:
    heard, probed = LIVEPEER_NODE.heard, LIVEPEER_NODE.probed
    assert heard(401, said, beating=True) is E.UNKNOWN
    assert heard(401, said, beating=False) is None, "the probe decides"
    assert probed(400) is E.OTHER_SECRET
    assert probed(401) is E.REFUSED
    assert probed(503) is E.SILENCE
    for status in (400, 403, 404):
        assert heard(status, said, beating=True) is E.REFUSED
    assert heard(503, said, beating=True) is E.SILENCE


def _steps(file: str) -> dict[str, NodeAnswer]:
    found = {}
    for step in json.loads((TRANSCRIPTS / file).read_text()):
        request, response = step.get("request", {}), step.get("response", {})
        if (request.get("method"), request.get("target")) == ("POST", "/runners/heartbeat") and "status" in response:
            found[step["step"]] = NodeAnswer(response["status"], response["body"].encode(), "")
    return found


def test_livepeer_nodes_recorded_refusals_are_understood() -> None:
    answers = [answer for file in ("node-heartbeat.json", "node-restart.json") for answer in _steps(file).values()]
    refused = [answer for answer in answers if answer.status != 200]
    assert {answer.status for answer in refused} >= {400, 401}
    for answer in refused:
        assert LIVEPEER_NODE.heard(answer.status, answer.error_text(), beating=True) in (E.UNKNOWN, E.REFUSED)
        assert "{" not in answer.error_text()


@pytest.mark.parametrize("status", [200, 204, 400, 401, 403, 404])
def test_an_unregistration_is_over_whatever_the_node_has_of_it(status: int) -> None:
    assert unregistered(status) is E.GONE


@pytest.mark.parametrize("status", [500, 503, 302])
def test_an_unregistration_that_says_nothing_is_tried_again(status: int) -> None:
    assert unregistered(status) is E.SILENCE


@pytest.mark.parametrize(
    ("status", "said", "hint", "code"),
    [
        (503, "runner capacity reached", "256 runners at most", Code.NODE_REFUSED),
        (503, "server busy", "64 places", Code.NODE_REFUSED),
        (503, "orchestrator shutting down", "being stopped", Code.NODE_REFUSED),
        (403, "static runner cannot heartbeat", "RunnerConfig", Code.NODE_REFUSED),
        (404, "route not found", "the path of its ServiceURL", Code.NOT_SPOKEN),
        (400, "720p pricing is unsupported", "Livepeer Node says 400, '720p pricing", Code.NODE_REFUSED),
    ],
)
def test_livepeer_nodes_limits_and_refusals_are_explained(status: int, said: str, hint: str, code: Code) -> None:
    error = refusals.refused(KEY, LIVEPEER_NODE, status, said)
    assert error.message.startswith("cannot register llm/acme/m with Live Runner: Livepeer Node says")
    assert hint in error.message
    assert error.code is code


def test_a_refused_price_that_was_not_sent_is_a_matter_of_the_price() -> None:
    said = "runner price must be positive in on-chain mode"
    error = refusals.refused(KEY, LIVEPEER_NODE, 400, said, why_no_price="Live Runner takes no price of 0 on chain")
    assert error.code is Code.PRICE_UNPUBLISHABLE
    assert "no price of 0 on chain: Livepeer Node says 400" in error.message
    assert refusals.refused(KEY, LIVEPEER_NODE, 400, "app is missing", why_no_price="x").code is Code.NODE_REFUSED


@pytest.mark.parametrize(
    ("dialect", "name", "setting"),
    [(GO_LIVEPEER, "go-livepeer", "-orchSecret"), (LIVEPEER_NODE, "Livepeer Node", "BootstrapSecretFile")],
)
def test_each_program_has_its_own_name_and_setting_in_what_is_said_of_secrets(
    dialect: Dialect, name: str, setting: str
) -> None:
    for error in (refusals.no_secret(dialect), refusals.wrong_secret(KEY, dialect, "/f", "")):
        assert name in error.message
        assert setting in error.message
        assert "orchestrator.secret_file" in error.message
        assert error.code is Code.NODE_SECRET
