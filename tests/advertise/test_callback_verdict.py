"""What is concluded from trials, where the doubles can't show it."""

from __future__ import annotations

import pytest

from orchd.advertise.callback_verdict import Tried, grant_of, verdict
from orchd.advertise.registry import NodeTrial, TrialResult
from orchd.domain.offer import Callback, NodeProgram
from orchd.errors import Code

URL = "http://127.0.0.1:8737"
NOTHING = Callback(URL)


def judged(
    result: TrialResult | None,
    *,
    by_us: str | None = "",
    program: NodeProgram = NodeProgram.LIVEPEER_NODE,
    url: str = URL,
) -> Callback:
    by_node = NodeTrial(result, "no answer within 5 s") if result else None
    return verdict(Tried(url, by_us, by_node, program), NOTHING, 7.0, allow_direct=False)


def test_on_chain_livepeer_nodes_grant_is_told_with_the_line_though_it_could_not_be_tried() -> None:
    found = judged(TrialResult.UNTESTABLE)
    assert (found.by_node, found.error, found.blocks) == (None, "", False)
    assert found.note.startswith("cannot test whether Livepeer Node may dial orchd, since ")
    assert 'RunnerGrants = ["127.0.0.1:8737"] and SessionProxyGrants = ["127.0.0.1:8737"]' in found.note


def test_go_livepeer_knows_no_grants_so_none_is_told() -> None:
    assert judged(TrialResult.UNTESTABLE, program=NodeProgram.GO_LIVEPEER).note == ""


def test_what_the_node_reaches_is_well_though_orchd_does_not_reach_it() -> None:
    """An address that is good only where the node runs."""
    found = judged(TrialResult.ARRIVED, by_us="no such host")
    assert (found.by_us, found.by_node, found.error, found.blocks) == (False, True, "", False)


def test_a_node_that_never_answers_the_trial_is_not_said_to_lack_a_grant() -> None:
    """A refused dial is answered at once; a packet that is dropped on the way is not."""
    found = judged(TrialResult.SILENCE)
    assert (found.code, found.blocks) == (Code.CALLBACK_UNREACHABLE, True)
    assert "no answer within 5 s" in found.error


def test_before_anything_was_tried_nothing_is_said() -> None:
    found = judged(None, by_us=None)
    assert (found.by_us, found.by_node, found.error, found.note, found.since) == (None, None, "", "", 0.0)


def test_it_tells_since_when() -> None:
    first = judged(TrialResult.REFUSED)
    tried = Tried(URL, "", NodeTrial(TrialResult.REFUSED), NodeProgram.LIVEPEER_NODE)
    assert first.since == 7.0
    assert verdict(tried, first, 99.0, allow_direct=False).since == 7.0


@pytest.mark.parametrize(
    ("url", "grant"),
    [
        ("http://127.0.0.1:8737", "127.0.0.1:8737"),
        ("http://10.0.0.7", "10.0.0.7:80"),
        ("https://10.0.0.7", "10.0.0.7:443"),
        ("http://[fd00::1]:8737/orchd", "[fd00::1]:8737"),
        ("http://localhost:8737", None),
        ("http://orchd:8737", None),
    ],
)
def test_a_grant_is_an_ip_literal_with_a_port(url: str, grant: str | None) -> None:
    assert grant_of(url) == grant
