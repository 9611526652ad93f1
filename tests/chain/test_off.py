"""No chain: blocks go by the clock, and nobody lacks funds."""

from __future__ import annotations

from fractions import Fraction

from orchd.chain.off import OffChain

US, PAYER = b"\x11" * 20, b"\x22" * 20


class Clock:
    def __init__(self) -> None:
        self.now = 1_767_225_600.0

    def __call__(self) -> float:
        return self.now


def test_blocks_go_on_every_dozen_seconds_and_never_back() -> None:
    clock = Clock()
    chain = OffChain(US, clock)
    first = chain.now().facts.l1_block
    clock.now += 24
    assert chain.now().facts.l1_block == first + 2
    clock.now -= 3600
    assert chain.now().facts.l1_block == first + 2


async def test_nothing_is_backed_and_nobody_is_refused() -> None:
    chain = OffChain(US)
    now = chain.now()
    assert (chain.recipient, chain.backed, now.fresh, now.facts.active) == (US, False, True, True)
    assert now.gas_price == 0
    assert any(now.terms.round_hash)
    facts = await chain.learn(PAYER)
    assert facts == chain.payer(PAYER)
    assert facts.max_float > 10**24
    assert not facts.unlocks_soon(now.facts.round)
    chain.credited(PAYER, Fraction(10**30))
    assert chain.payer(PAYER) == facts
