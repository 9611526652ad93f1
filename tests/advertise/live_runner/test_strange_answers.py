"""Whatever the node answers is read in bounded time and space, and breaks nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.advertise.live_runner import event_channel, wire
from orchd.advertise.live_runner.event_channel import _number
from orchd.advertise.live_runner.plan import Pace
from orchd.advertise.live_runner.wire import MOST_SESSIONS, is_session_id, read_discovery, read_welcome, seconds
from orchd.node.ports import NodeAnswer, NodeError
from tests.node.not_json import NOT_JSON
from tests.node.odd_answers import DOCUMENTS, answered

PACE = Pace(5.0, 20.0)


@given(DOCUMENTS)
def test_any_document_is_read_or_refused(document: object) -> None:
    """By each reader, with the errors that it says it raises and no other."""
    answer = answered(document)
    try:
        said = answer.json()
    except NodeError:
        said = None
    for document in (said, [said], {"session_ids": said}, {"runners": said}, [{"runners": [said]}]):
        try:
            welcome = read_welcome(document, PACE)
        except ValueError:
            continue
        finally:
            try:
                read_discovery(document)
            except ValueError:
                assert not isinstance(document, list)
        for session in welcome.sessions:
            session.encode()
        for pace_s in (welcome.pace.interval_s, welcome.pace.ttl_s):
            assert wire.SHORTEST_S <= pace_s <= wire.LONGEST_S
    event = event_channel.parse(answer.body)
    assert event is None or is_session_id(event.session)


@pytest.mark.parametrize("body", NOT_JSON)
def test_what_is_no_json_for_everybody_is_refused(body: bytes) -> None:
    with pytest.raises(NodeError, match="cannot read the node's answer: it should be JSON"):
        NodeAnswer(200, body, "").json()
    assert event_channel.parse(body) is None or body == b""


@given(st.text(max_size=60) | st.from_regex(r"[0-9.]{0,20}(ns|us|ms|s|m|h)", fullmatch=True))
def test_a_pace_is_one_that_makes_sense(text: str) -> None:
    found = seconds(text)
    assert found is None or wire.SHORTEST_S <= found <= wire.LONGEST_S


@pytest.mark.parametrize("text", ["9" * 5000, "-1", "1e3", "", " 1", None])
def test_a_number_of_a_header_that_is_none(text: str | None) -> None:
    assert _number(text) is None


def test_a_list_of_sessions_that_is_far_too_long_is_refused() -> None:
    read_welcome({"session_ids": ["a"] * MOST_SESSIONS}, PACE)
    with pytest.raises(ValueError, match="which is more than"):
        read_welcome({"session_ids": ["a"] * (MOST_SESSIONS + 1)}, PACE)


@pytest.mark.parametrize("name", ["", " a", "a\n", "\ud800", "\x00", "x" * 257, "é" * 129, 5, None])
def test_a_session_that_can_not_be_kept_or_sent_on_is_none(name: object) -> None:
    assert not is_session_id(name)
    assert read_welcome({"session_ids": [name, "good"]}, PACE).sessions == frozenset({"good"})
