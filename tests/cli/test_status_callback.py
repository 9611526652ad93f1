"""How `orchd status` shows whether jobs reach orchd, a refused secret, and how near Livepeer Node's limits are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchd.advertise.callback_verdict import Tried, verdict
from orchd.advertise.live_runner.dialects.livepeer_node import LivepeerNode
from orchd.advertise.registry import NodeTrial, TrialResult
from orchd.cli.status_pages import model_page, overview, states
from orchd.domain.offer import Callback, NodeProgram, NodeStatus, Published
from orchd.errors import Code
from orchd.settings.secrets import ENDS_IN_A_NEWLINE
from orchd.status_view import readiness, status
from orchd.text import TextStyle, cells
from tests.cli.test_status import TERMINAL
from tests.fakes.snapshots import NODE, beside

URL = "http://127.0.0.1:8737"
NODE_TOO = replace(NODE, program=NodeProgram.LIVEPEER_NODE)


def found(result: TrialResult, *, allow_direct: bool = False) -> NodeStatus:
    tried = Tried(URL, "", NodeTrial(result, "502 'runner destination unavailable'"), NodeProgram.LIVEPEER_NODE)
    return replace(NODE_TOO, callback=verdict(tried, Callback(URL), 1.0, allow_direct=allow_direct))


def test_a_missing_grant_stands_below_what_is_offered_on_both_pages_within_80_columns() -> None:
    snapshot = beside(found(TrialResult.REFUSED))
    page = overview(status(snapshot), TERMINAL)
    own = model_page(status(snapshot, next(iter(snapshot.models))), TERMINAL)
    for text in (page, own):
        words = " ".join(text.split())
        assert 'RunnerGrants = ["127.0.0.1:8737"]' in words
        assert max(cells(line) for line in text.splitlines()) <= 80
    assert page.index("offers 2 of 3") < page.index("cannot get jobs from") < page.index("MODEL")


def test_the_command_that_mends_the_secret_is_whole_on_a_short_terminal() -> None:
    why = LivepeerNode().wrong_secret("/etc/orchd/orch-secret", ENDS_IN_A_NEWLINE)
    snapshot = beside(replace(NODE_TOO, registries=("live-runner",)))
    [key, *_] = snapshot.models
    error = f"cannot register {key} with Live Runner: {why}"
    refused = Published(wanted=True, published=False, confirmed=None, since=0.0, error=error, code=Code.NODE_SECRET)
    model = replace(snapshot.models[key], registries={"live-runner": refused})
    page = overview(status(replace(snapshot, models={key: model})), TextStyle(80, height=24))
    words = " ".join(page.split())
    assert words.endswith('"$(cat /etc/orchd/orch-secret)" > /etc/orchd/orch-secret, and start the node again')


def test_it_is_one_line_of_what_changes() -> None:
    assert "RunnerGrants" in states(status(beside(found(TrialResult.REFUSED))))["callback"]
    assert "callback" not in states(status(beside(found(TrialResult.ARRIVED))))


def test_what_could_not_be_tried_on_chain_is_told_and_does_not_make_orchd_unready() -> None:
    snapshot = beside(found(TrialResult.UNTESTABLE))
    assert "cannot test whether" in overview(status(snapshot), TERMINAL)
    assert readiness(snapshot, True, "any")[0]


def test_orchd_is_not_ready_while_no_job_can_arrive_unless_listening_is_enough() -> None:
    blocked = beside(found(TrialResult.REFUSED))
    assert not readiness(blocked, True, "any")[0]
    assert readiness(blocked, True, "listening")[0]
    assert readiness(beside(found(TrialResult.REFUSED, allow_direct=True)), True, "any")[0]


def crowded(program: NodeProgram, **sessions: int) -> str:
    shown: dict[str, Any] = status(beside(replace(NODE, program=program)))
    shown["models"][1]["sessions"]["active"] = sessions["active"]
    return " ".join(overview(shown, TERMINAL).split())


def test_livepeer_nodes_limits_are_shown_when_they_are_near() -> None:
    near = crowded(NodeProgram.LIVEPEER_NODE, active=230)
    assert "near Livepeer Node's limits: " in near
    assert " of 256 calls to runners at once" in near
    assert "limits" not in crowded(NodeProgram.LIVEPEER_NODE, active=20)
    assert "limits" not in crowded(NodeProgram.GO_LIVEPEER, active=230)
