"""What is asked of Livepeer's contracts, and what their answers mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from orchd.chain import contracts
from orchd.chain.contracts import (
    ARBITRUM_CONTROLLER,
    ARBITRUM_ONE,
    NAMES,
    Contracts,
    contracts_calls,
    contracts_of,
    hash_of,
    l1_block_of,
    payer_calls,
    payer_of,
    round_of,
)
from orchd.domain.chain import PayerFacts
from orchd.rpc.ports import RpcFault
from tests.fakes.rpc import words

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol" / "payments.md"
VECTORS = Path(__file__).parents[1] / "data" / "protocol" / "vectors" / "tickets.json"
SELECTORS = {
    "getContract(bytes32)": contracts.GET_CONTRACT,
    "lastInitializedRound()": contracts.LAST_INITIALIZED_ROUND,
    "blockHashForRound(uint256)": contracts.BLOCK_HASH_FOR_ROUND,
    "getTranscoderPoolSize()": contracts.GET_TRANSCODER_POOL_SIZE,
    "isActiveTranscoder(address)": contracts.IS_ACTIVE_TRANSCODER,
    "getSenderInfo(address)": contracts.GET_SENDER_INFO,
    "claimedReserve(address,address)": contracts.CLAIMED_RESERVE,
}


def test_selectors_are_those_of_the_signatures_and_of_the_page() -> None:
    page = PROTOCOL.read_text()
    for signature, selector in SELECTORS.items():
        assert selector == "0x" + keccak(signature.encode())[:4].hex()
        assert f"`{selector}`" in page


def test_the_controller_knows_contracts_by_the_hash_of_their_names() -> None:
    assert {name: keccak(name.encode()).hex() for name in NAMES} == NAMES
    assert [call.params[0]["data"] for call in contracts_calls("0x1")] == [
        "0xe16c7d98" + each for each in NAMES.values()
    ]
    assert f"`{ARBITRUM_CONTROLLER}`" in PROTOCOL.read_text()


def test_addresses_of_the_contracts_are_read_from_the_words() -> None:
    assert contracts_of([words(1), words(2), words(2**160 - 1)]) == Contracts(
        broker="0x" + "0" * 39 + "1", rounds="0x" + "0" * 39 + "2", bonding="0x" + "f" * 40
    )


@pytest.mark.parametrize("address", [0, 2**160])
def test_a_controller_that_does_not_know_a_contract_is_named(address: int) -> None:
    with pytest.raises(RpcFault, match="knows no RoundsManager"):
        contracts_of([words(1), words(address), words(3)])


def test_an_address_that_is_not_the_controllers_is_told_as_the_setting_that_is_wrong() -> None:
    with pytest.raises(RpcFault, match=r"not at the address in chain\.controller"):
        contracts_of(["0x", "0x", "0x"])


def test_on_arbitrum_the_l1_block_stands_beside_the_number() -> None:
    header = {"number": "0x5f5e100", "l1BlockNumber": "0x1676ec0"}
    assert l1_block_of(header, ARBITRUM_ONE) == 23_555_776
    assert l1_block_of(header, 31337) == 23_555_776
    assert l1_block_of({"number": "0x10"}, 31337) == 16


def test_on_arbitrum_one_a_header_without_an_l1_block_is_an_error() -> None:
    with pytest.raises(RpcFault, match="no l1BlockNumber"):
        l1_block_of({"number": "0x10"}, ARBITRUM_ONE)


@pytest.mark.parametrize("header", [None, [], {}, {"number": 16}, {"number": hex(2**53)}])
def test_a_header_that_makes_no_sense_is_refused(header: Any) -> None:
    with pytest.raises(RpcFault):
        l1_block_of(header, 31337)


def test_a_round_is_read() -> None:
    found = round_of(["0x989680", words(4321), words(100), words(1)])
    assert (found.number, found.active, found.pool_size, found.gas_price) == (4321, True, 100, 10_000_000)
    with pytest.raises(RpcFault, match="the round is"):
        round_of(["0x1", words(2**53), words(100), words(1)])


def test_a_round_without_a_hash_gives_way_to_the_one_before() -> None:
    assert hash_of([words(5), words(4)], 7) == (7, bytes(31) + b"\5")
    assert hash_of([words(0), words(4)], 7) == (6, bytes(31) + b"\4")
    with pytest.raises(RpcFault, match="no block hash of the rounds 7 and 6"):
        hash_of([words(0), words(0)], 7)


def test_a_payer_is_asked_about_at_the_broker_with_us_as_the_claimant() -> None:
    where = Contracts("0xb", "0xr", "0xd")
    info, claimed = payer_calls(where, b"\x22" * 20, b"\x33" * 20)
    assert info.params == ({"to": "0xb", "data": "0xe1a589da" + "0" * 24 + "22" * 20}, "latest")
    assert claimed.params[0]["data"] == "0x4ac826da" + "0" * 24 + "22" * 20 + "0" * 24 + "33" * 20


def test_what_backs_a_payer_is_read_from_both_answers() -> None:
    facts = payer_of([words(11, 12, 13, 14), words(15)], pool_size=100)
    assert facts == PayerFacts(deposit=11, withdraw_round=12, reserve=13, claimed=14, claimed_by_us=15, pool_size=100)
    with pytest.raises(RpcFault):
        payer_of([words(11, 12, 13), words(15)], pool_size=100)


def test_the_vectors_name_the_same_selectors() -> None:
    named = json.loads(VECTORS.read_text())["selectors"]
    assert {signature: selector for signature, selector in named.items() if signature in SELECTORS} == {
        signature: selector for signature, selector in SELECTORS.items() if signature in named
    }
    assert set(named) & set(SELECTORS)
