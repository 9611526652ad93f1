"""What a token tells of a capability: the table of docs/protocol/byoc.md, 4.3, by row, and asked of the double."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction

import pytest
from hypothesis import given

from orchd.advertise.byoc.facts import TokenSighting
from orchd.advertise.byoc.token_probe import KEY_NAME, TokenProbe, read, signed
from orchd.errors import Code
from orchd.node.ports import NodeAnswer, NodeError
from tests.advertise.rig import client_of, node, settings_for
from tests.doubles.golivepeer.byoc import Capability
from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.node import Node
from tests.fakes.stored import FakeSecretStore
from tests.node.odd_answers import DOCUMENTS, answered

UNFUNDED = b"Could not get price err=insufficient sender reserve\n"
UNFUNDED_NOADJUST = b"Could not get ticket params err=insufficient sender reserve\n"
TEST_KEY = "46" * 32
"""Of docs/protocol/byoc.md, 3.1; its account has a reserve with the double."""


def token(*, free: int = 0, price: int = 0, on_chain: bool = True) -> bytes:
    made: dict[str, object] = {"price": {"pixelsPerUnit": 1} | ({"pricePerUnit": price} if price else {})}
    if free:
        made["available_capacity"] = free
    if on_chain:
        made["ticket_params"] = {"seed": "x"}
    return json.dumps(made | {"LastNonce": 0}).encode()


@pytest.mark.parametrize(
    ("status", "body", "free_of_charge", "seen"),
    [
        (200, token(free=3, on_chain=False), False, TokenSighting(True, 3)),
        (200, token(on_chain=False), False, TokenSighting(None, 0)),
        (200, token(free=3), True, TokenSighting(True, 3)),
        (200, token(), True, TokenSighting(None, 0)),
        (200, token(free=2, price=5), False, TokenSighting(True, 2)),
        (200, token(price=5), False, TokenSighting(None, 0)),
        (200, token(), False, TokenSighting(False, None)),
        (503, UNFUNDED, False, TokenSighting(None, None)),
        (400, UNFUNDED_NOADJUST, False, TokenSighting(None, None)),
    ],
    ids=[
        "off-chain, slots free",
        "off-chain, full or gone",
        "free of charge on chain, slots free",
        "free of charge on chain, full or gone",
        "priced, slots free",
        "priced, full or removed",
        "priced, never there",
        "no reserve, there or removed",
        "no reserve and no auto-adjust, there or removed",
    ],
)
def test_what_a_token_shows(status: int, body: bytes, free_of_charge: bool, seen: TokenSighting) -> None:
    assert read(NodeAnswer(status, body, ""), free_of_charge=free_of_charge) == seen


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, b"Invalid eth address header \n", Code.NODE_REFUSED),
        (500, b"fault\n", Code.NODE_REFUSED),
        (404, b"404 page not found\n", Code.NOT_SPOKEN),
        (200, b"ok", Code.NODE_REFUSED),
        (200, b"[]", Code.NODE_REFUSED),
        (200, b'{"available_capacity": "2"}', Code.NODE_REFUSED),
    ],
)
def test_what_shows_nothing_is_an_error(status: int, body: bytes, code: Code) -> None:
    with pytest.raises(NodeError, match=r"^cannot ") as caught:
        read(NodeAnswer(status, body, ""), free_of_charge=False)
    assert caught.value.code is code


def test_signature_is_that_of_the_test_vector() -> None:
    """Source: docs/protocol/byoc.md, 3.1."""
    header = json.loads(base64.b64decode(signed(TEST_KEY)))
    assert header == {
        "addr": "0x9d8A62f656a8d1615C1294fd71e9CFb3E4855A4F",
        "sig": "0x4e166c2cd389f60c02051be1252202fc8a9d9f81b34ace389523a47cb5e70d26"
        "5bcff71ffa9bda088fb65f04930ca11aa5818b5c688e0d130a32f3a03e9254c91c",
    }


@asynccontextmanager
async def probing(chain: Chain | None, key: str = "") -> AsyncIterator[tuple[Node, TokenProbe, FakeSecretStore]]:
    store = FakeSecretStore()
    if key:
        store.secrets[KEY_NAME] = key
    async with node(on_chain=chain) as double, client_of(settings_for(double)) as client:
        yield double, TokenProbe(client, store), store


def register(double: Node, capacity: int, price: int, load: int = 0) -> None:
    double.byoc.capabilities["a"] = Capability("a", "", "", capacity, load, Fraction(price), "wei", "")
    double.byoc.prices["a"] = Fraction(price)


@pytest.mark.parametrize("on_chain", [False, None])
async def test_off_chain_free_slots_show(on_chain: bool | None) -> None:
    """Where the chain is not known the question is signed, which does no harm."""
    async with probing(None) as (double, probe, store):
        assert await probe.ask("a", on_chain=on_chain, free_of_charge=False) == TokenSighting(None, 0)
        register(double, 2, 7)
        assert await probe.ask("a", on_chain=on_chain, free_of_charge=False) == TokenSighting(True, 2)
        register(double, 2, 7, load=2)
        assert await probe.ask("a", on_chain=on_chain, free_of_charge=False) == TokenSighting(None, 0)
        assert (KEY_NAME in store.secrets) is (on_chain is None)


async def test_on_chain_an_account_without_a_reserve_sees_only_what_never_was() -> None:
    async with probing(Chain()) as (double, probe, store):
        assert await probe.ask("a", on_chain=True, free_of_charge=False) == TokenSighting(False, None)
        register(double, 2, 7)
        assert await probe.ask("a", on_chain=True, free_of_charge=False) == TokenSighting(None, None)
        double.byoc.remove("a")
        assert await probe.ask("a", on_chain=True, free_of_charge=False) == TokenSighting(None, None)
        register(double, 2, 0)
        assert await probe.ask("a", on_chain=True, free_of_charge=True) == TokenSighting(True, 2)
        assert len(bytes.fromhex(store.secrets[KEY_NAME])) == 32


async def test_on_chain_an_account_with_a_reserve_sees_slots() -> None:
    async with probing(Chain(), TEST_KEY) as (double, probe, store):
        assert await probe.ask("a", on_chain=True, free_of_charge=False) == TokenSighting(False, None)
        register(double, 2, 7, load=1)
        assert await probe.ask("a", on_chain=True, free_of_charge=False) == TokenSighting(True, 1)
        double.byoc.remove("a")
        assert await probe.ask("a", on_chain=True, free_of_charge=False) == TokenSighting(None, 0)
        assert store.secrets[KEY_NAME] == TEST_KEY


@given(DOCUMENTS)
def test_any_token_is_read_or_refused(document: object) -> None:
    with contextlib.suppress(NodeError):
        read(answered(document), free_of_charge=False)
