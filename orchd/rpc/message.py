"""JSON-RPC 2.0: from calls to the body of a request, and from the bytes of an answer to the results. Pure.

What a server sends is checked to the last member: it may be of another chain, broken, or a page of a proxy.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from orchd.rpc.ports import Call, RpcFault

LIMIT_CODES = frozenset({-32005, -32029, 429})
"""Errors with which providers say that they were asked too often."""
LIMIT_WAIT_S = 10.0
"""How many seconds a server is left alone that was asked too often and does not say for how long."""


class NoBatch(RpcFault):
    """It answers several calls at once with one error for all: it may be one that takes them one by one only."""


def body_of(calls: Sequence[Call]) -> Any:
    """Return what is sent for these calls: several at once are a list, as JSON-RPC has it."""
    wanted = [
        {"jsonrpc": "2.0", "id": number, "method": call.method, "params": list(call.params)}
        for number, call in enumerate(calls, start=1)
    ]
    return wanted if len(wanted) > 1 else wanted[0]


def results_of(text: bytes, count: int) -> list[Any]:
    """Return the results in the order of the calls.

    Args:
        count: of the calls, at least 1.

    Raises:
        NoBatch: see there.
        RpcFault: it is no such answer, or one of the calls was refused.
    """
    try:
        answer: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise RpcFault("the RPC server's answer is not JSON") from None
    if count == 1:
        return [_result(answer)]
    if isinstance(answer, dict):
        fault = _fault(answer)
        raise NoBatch(str(fault), fault.wait_s)
    by_id = {}
    for each in answer if isinstance(answer, list) else ():
        if isinstance(each, dict) and type(each.get("id")) is int:
            by_id[each["id"]] = each
    if len(by_id) != len(answer if isinstance(answer, list) else ()) or set(by_id) != set(range(1, count + 1)):
        raise RpcFault("the RPC server's answer does not fit what it was asked")
    return [_result(by_id[number]) for number in range(1, count + 1)]


def _result(answer: Any) -> Any:
    if isinstance(answer, dict) and answer.get("error") is None and "result" in answer:
        return answer["result"]
    raise _fault(answer)


def _fault(answer: Any) -> RpcFault:
    error = answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(error, dict):
        return RpcFault("the RPC server's answer is no JSON-RPC")
    code = error.get("code")  # Not its message, which may repeat the key.
    if type(code) is not int:
        return RpcFault("the RPC server refuses the call: error unnamed")
    if code in LIMIT_CODES:
        return RpcFault(f"it was asked too often (error {code})", LIMIT_WAIT_S)
    return RpcFault(f"the RPC server refuses the call: error {code}")
