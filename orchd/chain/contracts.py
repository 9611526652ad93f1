"""Livepeer's contracts as a receiver of tickets reads them: their functions, and what those return. Pure.

Source: docs/protocol/payments.md, 7, 12.1 and 13. Only words of 32 bytes go in and out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orchd.domain.chain import PayerFacts
from orchd.rpc.ports import Call, RpcFault, call_of
from orchd.rpc.words import quantity_of, word, words_of

ARBITRUM_ONE = 42161
ARBITRUM_CONTROLLER = "0xD8E8328501E9645d16Cf49539efC04f734606ee4"

NAMES = {
    "TicketBroker": "bd1aa3e8d2464256d7fd3dcf645c16418d5d8c51d971f1ad7d57e7b1b5eee239",
    "RoundsManager": "e8438ea868df48e3fc21f2f087b993c9b1837dc0f6135064161ce7d7a1701fe8",
    "BondingManager": "2517d59a36a86548e38734e8ab416f42afff4bca78706a66ad65750dae7f9e37",
}
"""The contracts that are read, each with the Keccak-256 of its name, by which the Controller knows it."""

GET_CONTRACT = "0xe16c7d98"
LAST_INITIALIZED_ROUND = "0x8807f36e"
BLOCK_HASH_FOR_ROUND = "0x3aa4add4"
GET_TRANSCODER_POOL_SIZE = "0x2a4e0d55"
IS_ACTIVE_TRANSCODER = "0x08802374"
GET_SENDER_INFO = "0xe1a589da"
CLAIMED_RESERVE = "0x4ac826da"

NEWEST_BLOCK = Call("eth_getBlockByNumber", ("latest", False))
"""Without its transactions."""

_MOST = 2**53
"""Of blocks and rounds: what a store holds exactly. The L1 has some 25 million blocks."""


@dataclass(frozen=True, slots=True)
class Contracts:
    """Addresses of the contracts, with 0x."""

    broker: str
    rounds: str
    bonding: str


@dataclass(frozen=True, slots=True)
class Round:
    """What one server says of the round, and of what is good for as long.

    Attributes:
        number: of the last initialized.
        active: the orchestrator is active in it.
        pool_size: active orchestrators at most.
        gas_price: wei.
    """

    number: int
    active: bool
    pool_size: int
    gas_price: int


def contracts_calls(controller: str) -> list[Call]:
    """Return the calls for the addresses of the contracts."""
    return [call_of(controller, GET_CONTRACT + name) for name in NAMES.values()]


def contracts_of(results: Sequence[Any]) -> Contracts:
    """Return the addresses.

    Raises:
        RpcFault: the controller knows one of them not, or is none.
    """
    found = []
    for name, result in zip(NAMES, results, strict=True):
        try:
            [address] = words_of(result, 1)
        except RpcFault as fault:
            raise RpcFault("Livepeer's Controller is not at the address in chain.controller on its chain") from fault
        if not 0 < address < 2**160:
            raise RpcFault(f"the controller on its chain knows no {name}")
        found.append(f"0x{address:040x}")
    return Contracts(*found)


def round_calls(contracts: Contracts, recipient: bytes) -> list[Call]:
    """Return the calls for what changes by itself, but for the block."""
    return [
        Call("eth_gasPrice"),
        call_of(contracts.rounds, LAST_INITIALIZED_ROUND),
        call_of(contracts.bonding, GET_TRANSCODER_POOL_SIZE),
        call_of(contracts.bonding, IS_ACTIVE_TRANSCODER + word(recipient)),
    ]


def round_of(results: Sequence[Any]) -> Round:
    """Return what the server says.

    Raises:
        RpcFault: it makes no sense.
    """
    gas_price, *returned = results
    [number], [pool_size], [active] = (words_of(each, 1) for each in returned)
    if number >= _MOST:
        raise RpcFault(f"it says that the round is {number}")
    return Round(number, active == 1, pool_size, quantity_of(gas_price, "gas price"))


def l1_block_of(header: Any, chain_id: int) -> int:
    """Return the L1 block of a block's header: Arbitrum has it beside its own number, other chains are taken for an L1.

    Raises:
        RpcFault: there is none, or none that can be.
    """
    if not isinstance(header, dict):
        raise RpcFault("it gives no block")
    if chain_id == ARBITRUM_ONE and "l1BlockNumber" not in header:
        raise RpcFault("its blocks have no l1BlockNumber, as those of Arbitrum have")
    block = quantity_of(header.get("l1BlockNumber", header.get("number")), "block number")
    if block >= _MOST:
        raise RpcFault(f"it says that the L1 block is {block}")
    return block


def hash_calls(contracts: Contracts, last_round: int) -> list[Call]:
    """Return the calls for the block hashes of a round and the one before."""
    rounds = (last_round, max(last_round - 1, 0))
    return [call_of(contracts.rounds, BLOCK_HASH_FOR_ROUND + word(each)) for each in rounds]


def hash_of(results: Sequence[Any], last_round: int) -> tuple[int, bytes]:
    """Return the round that terms name, and its hash: the one before where the round has none.

    Raises:
        RpcFault: neither has one.
    """
    for number, result in zip((last_round, last_round - 1), results, strict=True):
        [hashed] = words_of(result, 1)
        if hashed:
            return number, hashed.to_bytes(32, "big")
    raise RpcFault(f"its RoundsManager keeps no block hash of the rounds {last_round} and {last_round - 1}")


def payer_calls(contracts: Contracts, payer: bytes, recipient: bytes) -> list[Call]:
    """Return the calls for what backs a payer's tickets."""
    return [
        call_of(contracts.broker, GET_SENDER_INFO + word(payer)),
        call_of(contracts.broker, CLAIMED_RESERVE + word(payer) + word(recipient)),
    ]


def payer_of(results: Sequence[Any], pool_size: int) -> PayerFacts:
    """Return what backs a payer's tickets.

    Raises:
        RpcFault: it makes no sense.
    """
    info, claimed_reserve = results
    deposit, withdraw_round, reserve, claimed = words_of(info, 4)
    [claimed_by_us] = words_of(claimed_reserve, 1)
    return PayerFacts(deposit, reserve, claimed, claimed_by_us, pool_size, withdraw_round)
