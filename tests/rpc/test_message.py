"""JSON-RPC: what is sent, and what of an answer is believed."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.rpc.message import NoBatch, body_of, results_of
from orchd.rpc.ports import Call, RpcFault

SECRET = "the-servers-own-words"


def answer(id: Any, result: Any = "0x1") -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": result}


def text_of(document: Any) -> bytes:
    return json.dumps(document).encode()


def test_one_call_is_an_object_and_several_are_a_list() -> None:
    assert body_of([Call("a")]) == {"jsonrpc": "2.0", "id": 1, "method": "a", "params": []}
    assert body_of([Call("a"), Call("b", (1, "x"))]) == [
        {"jsonrpc": "2.0", "id": 1, "method": "a", "params": []},
        {"jsonrpc": "2.0", "id": 2, "method": "b", "params": [1, "x"]},
    ]


def test_results_come_in_the_order_of_the_calls() -> None:
    assert results_of(text_of([answer(2, "b"), answer(1, "a")]), 2) == ["a", "b"]
    assert results_of(text_of(answer(1, None)), 1) == [None]


@pytest.mark.parametrize(
    "document",
    [
        [],
        [answer(1)],
        [answer(1), answer(1)],
        [answer(1), answer(2), answer(2)],
        [answer(1), answer(2), answer(3)],
        [answer(1), answer("2")],
        [answer(1), answer(True)],
        [answer(0), answer(1)],
        [answer(1), None],
        "0x1",
        None,
        7,
    ],
)
def test_an_answer_that_does_not_fit_the_question_is_refused(document: Any) -> None:
    with pytest.raises(RpcFault, match="does not fit"):
        results_of(text_of(document), 2)


@pytest.mark.parametrize("text", [b"", b"<html>", b"[" * 100_000, b"\xff", b'{"result":' + b"9" * 5000 + b"}"])
def test_what_is_not_json_is_refused(text: bytes) -> None:
    with pytest.raises(RpcFault, match="not JSON"):
        results_of(text, 1)


@pytest.mark.parametrize(("code", "shown"), [(-32000, "-32000"), (SECRET, "unnamed"), (None, "unnamed")])
def test_an_error_is_told_by_its_code_alone(code: Any, shown: str) -> None:
    error = {"jsonrpc": "2.0", "id": 2, "error": {"code": code, "message": SECRET}}
    with pytest.raises(RpcFault) as raised:
        results_of(text_of([answer(1), error]), 2)
    assert str(raised.value) == f"the RPC server refuses the call: error {shown}"
    assert raised.value.wait_s == 0


@pytest.mark.parametrize("code", [-32005, 429])
def test_a_limit_that_was_reached_asks_for_patience(code: int) -> None:
    with pytest.raises(RpcFault) as raised:
        results_of(text_of({"id": 1, "error": {"code": code}}), 1)
    assert raised.value.wait_s > 0


def test_one_error_for_all_calls_may_mean_that_they_are_taken_one_by_one_only() -> None:
    with pytest.raises(NoBatch):
        results_of(text_of({"id": None, "error": {"code": -32600}}), 2)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["id", "result", "error", "code"]), inner),
    ),
    st.integers(1, 3),
)
def test_whatever_comes_is_a_result_for_each_call_or_a_fault(document: Any, count: int) -> None:
    with suppress(RpcFault):
        assert len(results_of(text_of(document), count)) == count
