"""What the node answers is read in bounded time and space."""

from __future__ import annotations

import pytest

from orchd.node.answer import TEXT_BYTES, NodeAnswer, NodeError
from tests.node.not_json import NOT_JSON


@pytest.mark.parametrize("body", NOT_JSON)
def test_what_is_no_json_for_everybody_is_refused(body: bytes) -> None:
    with pytest.raises(NodeError, match="cannot read the node's answer: it should be JSON"):
        NodeAnswer(200, body, "").json()


def test_a_pair_of_surrogates_is_a_character() -> None:
    assert NodeAnswer(200, b'["\\ud83d\\ude00"]', "").json() == ["\U0001f600"]


def test_only_the_beginning_of_an_answer_is_looked_at_to_show_it() -> None:
    looked: list[int] = []

    class Body(bytes):
        def __getitem__(self, key: object) -> bytes:  # type: ignore[override]
            assert isinstance(key, slice)
            looked.append(key.stop)
            return bytes(self)[key]

        def decode(self, *args: object, **kwargs: object) -> str:
            raise AssertionError("all of it")

    text = NodeAnswer(400, Body(b"a " * 1_000_000), "").text()
    assert looked == [TEXT_BYTES]
    assert len(text) <= 300
    assert text.isprintable()


@pytest.mark.parametrize(
    "body",
    [
        b'{"runner_id":"r","heartbeat_secret":"PRIVATE"',
        b' [{"heartbeat_secret":"PRIVATE","n":NaN}]',
        b'{"heartbeat_secret":"PRIVATE","n":"\\ud800"}',
        b'{"heartbeat_secret":"PRIVATE","n":"\xff"}',
        b'{"heartbeat_secret":"PRIVATE","n":' + b"[" * 100_000,
    ],
)
def test_what_is_json_in_part_is_not_shown_since_it_may_hold_a_credential(body: bytes) -> None:
    with pytest.raises(NodeError, match="it should be JSON") as caught:
        NodeAnswer(200, body, "").json()
    assert "PRIVATE" not in caught.value.message


def test_what_is_no_json_at_all_is_shown() -> None:
    with pytest.raises(NodeError, match="but is '<html>Sign in"):
        NodeAnswer(200, b"<html>Sign in</html>", "").json()
