"""The contracts at work, as docs/protocol/payments.md, 7, 12 and 13, says of the deployed ones."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from coincurve import PrivateKey
from eth_abi.abi import encode
from eth_hash.auto import keccak

from tests.doubles.livepeer_chain.anvil import AnvilError
from tests.doubles.livepeer_chain.chain import POOL_SIZE, LocalChain, RedeemedTicket

US = b"\x11" * 20
KEY = PrivateKey(b"\x46" * 32)
SENDER = keccak(KEY.public_key.format(compressed=False)[1:])[12:]
RAND = 7
ALWAYS = 2**256 - 1
ETHER = 10**18


@pytest_asyncio.fixture
async def chain() -> AsyncIterator[LocalChain]:
    async with LocalChain.started() as chain:
        await chain.activate(US)
        yield chain


@dataclass
class Maker:
    """Makes tickets of the current round."""

    chain: LocalChain

    async def ticket(self, face_value: int, **other: Any) -> RedeemedTicket:
        round = await self.chain.read(self.chain.rounds, "lastInitializedRound()", "uint256")
        hash = await self.chain.read(self.chain.rounds, "blockHashForRound(uint256)", "bytes32", round)
        aux = encode(["uint256", "bytes32"], [round, hash])
        ticket = RedeemedTicket(US, SENDER, face_value, ALWAYS, 1, keccak(RAND.to_bytes(32, "big")), aux)
        return replace(ticket, **other)


def packed(ticket: RedeemedTicket) -> bytes:
    numbers = b"".join(each.to_bytes(32, "big") for each in (ticket.face_value, ticket.win_prob, ticket.sender_nonce))
    return ticket.recipient + ticket.sender + numbers + ticket.recipient_rand_hash + ticket.aux_data


def signed(ticket: RedeemedTicket) -> bytes:
    digest = keccak(b"\x19Ethereum Signed Message:\n32" + keccak(packed(ticket)))
    sig = KEY.sign_recoverable(digest, hasher=None)
    return sig[:64] + bytes([sig[64] + 27])


async def refusal(chain: LocalChain, ticket: RedeemedTicket, sig: bytes | None = None, rand: int = RAND) -> str:
    with pytest.raises(AnvilError) as raised:
        await chain.redeem(ticket, sig or signed(ticket), rand)
    return str(raised.value).partition("reverted: ")[2]


async def test_a_winning_ticket_is_paid_from_the_deposit_once(chain: LocalChain) -> None:
    await chain.fund(SENDER, 5 * ETHER, 100 * ETHER)
    ticket = await Maker(chain).ticket(2 * ETHER)
    receipt = await chain.redeem(ticket, signed(ticket), RAND)
    assert await chain.fees(US) == 2 * ETHER
    topics = {each["topics"][0] for each in receipt["logs"]}
    assert topics == {
        "0x" + keccak(text).hex()
        for text in (
            b"WinningTicketTransfer(address,address,uint256)",
            b"WinningTicketRedeemed(address,address,uint256,uint256,uint256,uint256,bytes)",
        )
    }
    assert await refusal(chain, ticket) == "ticket is used"


async def test_every_broken_condition_has_its_text_in_the_order_of_the_page(chain: LocalChain) -> None:
    await chain.fund(SENDER, 5 * ETHER, 100 * ETHER)
    ticket = await Maker(chain).ticket(ETHER)
    sig, round = signed(ticket), int.from_bytes(ticket.aux_data[:32], "big")
    high = sig[:32] + (2**256 - 1).to_bytes(32, "big") + sig[64:]
    for broken, of, text in (
        (replace(ticket, aux_data=ticket.aux_data[1:]), sig, "invalid length for ticket auxData: must be 64 bytes"),
        (
            replace(ticket, aux_data=bytes(31) + b"\1" + ticket.aux_data[32:]),
            sig,
            "ticket creationRound does not have a block hash",
        ),
        (
            replace(ticket, aux_data=ticket.aux_data[:32] + bytes(32)),
            sig,
            "ticket creationRoundBlockHash invalid for creationRound",
        ),
        (replace(ticket, recipient_rand_hash=bytes(32)), sig, "recipientRand does not match recipientRandHash"),
        (replace(ticket, sender_nonce=2), sig, "invalid signature over ticket hash"),
        (ticket, high, "ECDSA: invalid signature 's' value"),
        (ticket, sig[:64] + b"\0", "ECDSA: invalid signature 'v' value"),
        (never := replace(ticket, win_prob=0), signed(never), "ticket did not win"),
    ):
        assert await refusal(chain, broken, of) == text
    await chain.pause()
    assert await refusal(chain, ticket) == "system is paused"
    await chain.pause(paused=False)
    await chain.next_round(initialize=False)
    assert await refusal(chain, ticket) == "current round is not initialized"
    await chain.initialize_round()
    await chain.next_round()
    assert await refusal(chain, ticket) == "ticket is expired"
    assert round + 2 == await chain.read(chain.rounds, "currentRound()", "uint256")


async def test_a_sender_without_funds_pays_nothing(chain: LocalChain) -> None:
    assert await refusal(chain, await Maker(chain).ticket(ETHER)) == "sender deposit and reserve are zero"


async def test_what_the_deposit_lacks_comes_from_our_share_of_the_reserve_and_the_ticket_is_spent(
    chain: LocalChain,
) -> None:
    await chain.fund(SENDER, 3 * ETHER, POOL_SIZE * 2 * ETHER)
    maker = Maker(chain)
    ticket = await maker.ticket(10 * ETHER)
    assert await chain.read(chain.broker, "claimableReserve(address,address)", "uint256", SENDER, US) == 2 * ETHER
    await chain.redeem(ticket, signed(ticket), RAND)
    assert await chain.fees(US) == 5 * ETHER
    assert await refusal(chain, ticket) == "ticket is used"
    again = await maker.ticket(10 * ETHER, sender_nonce=2)
    receipt = await chain.redeem(again, signed(again), RAND)
    assert len(receipt["logs"]) == 1, "nothing was transferred, and it is spent"
    assert await chain.fees(US) == 5 * ETHER
    await chain.next_round()
    third = await maker.ticket(10 * ETHER, sender_nonce=3)
    await chain.redeem(third, signed(third), RAND)
    assert await chain.fees(US) == 5 * ETHER + (POOL_SIZE * 2 - 2) * ETHER // POOL_SIZE, "a new round has a new share"


async def test_who_is_not_active_has_no_share(chain: LocalChain) -> None:
    await chain.fund(SENDER, ETHER, 100 * ETHER)
    await chain.activate(US, active=False)
    ticket = await Maker(chain).ticket(10 * ETHER)
    await chain.redeem(ticket, signed(ticket), RAND)
    assert await chain.fees(US) == ETHER


async def test_a_sender_takes_its_funds_two_rounds_after_unlocking(chain: LocalChain) -> None:
    await chain.fund(SENDER, ETHER, ETHER)
    await chain.unlock(SENDER)
    with pytest.raises(AnvilError, match="account is locked"):
        await chain.withdraw(SENDER)
    await chain.next_round()
    await chain.next_round()
    assert await refusal(chain, await Maker(chain).ticket(1)) == "sender is unlocked"
    await chain.withdraw(SENDER)
    info = await chain.read(chain.broker, "getReserveInfo(address)", "(uint256,uint256)", SENDER)
    assert info == (0, 0)
