"""The recorded gRPC steps: bytes fields are base64 in them, and a refusal is a status and its text."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from tests.doubles.golivepeer import protobuf
from tests.doubles.golivepeer.grpc_client import CallFailed, call
from tests.doubles.golivepeer.protobuf import Value
from tests.doubles.golivepeer.replay import Replay
from tests.doubles.golivepeer.stages import register
from tests.doubles.shared.recordings import Differs, expect, load

FILE = "onchain-grpc.json"
_TERMS = ("recipient", "face_value", "win_prob", "recipient_rand_hash", "seed", "expiration_block")


async def registered(replay: Replay) -> None:
    """What the recorded node had by then; a negative price, of its last hour, is not in the list."""
    listed = next(step for step in load(FILE) if step["step"] == "funded sender")["response"]["capabilities_prices"]
    for one in listed:
        await register(replay, one["constraint"], 1, price_per_unit=one["pricePerUnit"], currency="wei")
    await register(replay, "misc/neg", 1, price_per_unit=-5, currency="wei")


async def listing(replay: Replay, step: Mapping[str, Any]) -> None:
    """GetOrchestrator; which capabilities come first is random."""
    asked, recorded = step["request"], step["response"]
    fields = ((1, base64.b64decode(asked["address"])), (2, base64.b64decode(asked.get("sig", ""))))
    try:
        answer = protobuf.decode(await call(replay.node, "GetOrchestrator", protobuf.encode(*fields)))
    except CallFailed as failed:
        expect({"grpc_code": failed.code, "details": failed.details}, recorded, "refusal")
        return
    if "ok" not in recorded:
        raise Differs(f"answered, instead of {recorded}")
    expected = recorded["ok"]
    expect(_text(answer[1]), expected["transcoder"], "transcoder")
    expect(base64.b64encode(_bytes(answer[4])).decode(), expected["address"], "address")
    expect(_price(answer[3]), {k: int(v) for k, v in expected["price_info"].items()}, "price_info")
    terms = {name: number for number, name in enumerate(_TERMS, 1)}
    said = protobuf.decode(_bytes(answer[2]))
    expect({name for name in _TERMS if terms[name] in said}, set(expected["ticket_params"]) & set(_TERMS), "terms")
    for name in ("recipient", "face_value", "win_prob"):
        value = base64.b64encode(_bytes(said.get(terms[name], [b""]))).decode()
        expect(value, expected["ticket_params"].get(name, ""), name)
    prices = sorted(
        (one["constraint"], int(one.get("pricePerUnit", 0)), int(one["pixelsPerUnit"]), one["capability"])
        for one in expected["capabilities_prices"]
    )
    expect(sorted(_capability(value) for value in answer[33]), prices, "capabilities_prices")


async def pinged(replay: Replay, step: Mapping[str, Any]) -> None:
    answer = protobuf.decode(await call(replay.node, "Ping", protobuf.encode((1, b"abc"))))
    expect(_bytes(answer[1]).hex(), step["response"]["value_hex"], "signed value")


def _bytes(values: list[Value]) -> bytes:
    if not isinstance(values[0], bytes):
        raise Differs(f"a number instead of bytes: {values[0]}")
    return values[0]


def _text(values: list[Value]) -> str:
    return _bytes(values).decode()


def _price(values: list[Value]) -> dict[str, Value]:
    found = protobuf.decode(_bytes(values))
    return {name: found[number][0] for number, name in ((1, "pricePerUnit"), (2, "pixelsPerUnit")) if number in found}


def _capability(value: Value) -> tuple[str, Value, Value, Value]:
    found = protobuf.decode(_bytes([value]))
    return _text(found[4]), found.get(1, [0])[0], found[2][0], found[3][0]


INSTEAD = {
    "funded sender": listing,
    "unfunded sender": listing,
    "reserve of 1000 wei": listing,
    "bad signature": listing,
    "no signature": listing,
    "unfunded sender after base price 0 was set for it": listing,
    "Ping(abc)": pinged,
}
