"""What goes over the wire to BYOC's registry and into the store, and what the node's answers mean. Pure.

Source: docs/protocol/byoc.md, 2.
"""

from __future__ import annotations

import json
from typing import Any

from orchd.advertise.byoc.prices import ByocPrice
from orchd.advertise.byoc.registration import ByocCall, Capability, Upsert
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.money import Currency
from orchd.errors import Code
from orchd.node.ports import NodeAnswer, NodeError

REGISTER, UNREGISTER = "/capability/register", "/capability/unregister"


def body_of(record: Capability, callback_url: str, token: Secret, load: int) -> bytes:
    """Return the body that registers `record`. The URL names the model: nothing else does, in a job (5.3).

    Args:
        load: slots that are taken now. Without it the node would count 0, and end below 0 (2.3).
    """
    return json.dumps(
        {
            "name": record.name,
            "url": f"{callback_url}/byoc/{record.key.slug}",
            "capacity": record.capacity,
            "price_per_unit": record.price.price_per_unit,
            "price_scaling": record.price.price_scaling,
            "currency": record.price.currency,
            "token": token.value,
            "Load": load,
        }
    ).encode()


def price_text(price: ByocPrice) -> str:
    return f"{price.price_per_unit}/{price.price_scaling} {price.currency} per second"


def refusal(answer: NodeAnswer, name: str, call: ByocCall) -> NodeError | None:
    """Return what the node's answer says against `call`; None = it has taken it."""
    if answer.status == 200 and answer.body == b"ok":
        return None
    what = f"cannot {_verb(call)} {name!r} with go-livepeer"
    said = answer.text()
    if answer.status == 400 and said == "invalid authorization":
        return NodeError(
            f"{what}: it refuses our secret; orchestrator.secret_file must hold what its -orchSecret is",
            code=Code.NODE_SECRET,
        )
    if answer.status == 404:
        return NodeError(
            f"cannot {_verb(call)} {name!r} with the node: it has no BYOC registry ({said})", code=Code.NOT_SPOKEN
        )
    return NodeError(f"{what}: it answered {answer.status} {said!r}", code=Code.NODE_REFUSED)


def nothing_to_take_back(answer: NodeAnswer | None, call: ByocCall) -> bool:
    """Return whether a withdrawal met a node that has no BYOC registry, and so holds nothing."""
    offers = isinstance(call, Upsert) and call.record.capacity > 0
    return answer is not None and answer.status == 404 and not offers


def unanswered(exc: NodeError, name: str, call: ByocCall) -> NodeError:
    """Return what it means that `call` got no answer.

    The node drops the connection when it can't convert a price: a currency that it doesn't know, USD off-chain, or a
    price feed that fails (2.2).
    """
    if exc.dropped and isinstance(call, Upsert) and call.record.price.currency is Currency.USD:
        return NodeError(
            f"cannot register {name!r} with go-livepeer: it dropped the connection, as it does when it can't convert "
            "the price from USD; it must be on chain and have a price feed, or the entry a price in wei",
            code=Code.NODE_CURRENCY,
        )
    return NodeError(f"cannot {_verb(call)} {name!r}: {exc.message}", code=exc.code)


def is_final(answer: NodeAnswer | None, error: NodeError) -> bool:
    """Return whether the node will go on refusing this very record."""
    if error.code is Code.NODE_CURRENCY:
        return True
    return answer is not None and answer.status == 400 and error.code is Code.NODE_REFUSED


def kept(records: dict[str, Capability]) -> dict[str, tuple[ModelKey, ByocPrice]]:
    """Return what the store keeps: enough to take them back, and to hide those that have streams."""
    return {name: (record.key, record.price) for name, record in records.items()}


def dump(records: dict[str, Capability]) -> str:
    """Return that as text."""
    return json.dumps(
        {
            name: {
                "pipeline": key.pipeline,
                "model_id": key.model_id,
                "price_per_unit": price.price_per_unit,
                "price_scaling": price.price_scaling,
                "currency": price.currency,
            }
            for name, (key, price) in sorted(kept(records).items())
        }
    )


def load(text: str) -> dict[str, Capability]:
    """Return what `dump` has kept."""
    found: dict[str, Any] = json.loads(text)
    return {
        name: Capability(
            name,
            ModelKey(each["pipeline"], each["model_id"]),
            0,
            ByocPrice(each["price_per_unit"], each["price_scaling"], Currency(each["currency"])),
            0,
        )
        for name, each in found.items()
    }


def _verb(call: ByocCall) -> str:
    return "register" if isinstance(call, Upsert) else "unregister"
