"""`chain.ports.Chain` with the values that a test gives."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from orchd.chain.ports import ChainNow
from orchd.domain.chain import ChainFacts, PayerFacts, TermsOf

FUNDED = PayerFacts(deposit=10**18, reserve=10**18, claimed=0, claimed_by_us=0, pool_size=100, withdraw_round=0)


class FixedChain:
    """Attributes:
    known: what `now` returns.
    payers: by address, 20 bytes.
    learnable: payers whom only `learn` finds; then they are in `payers`.
    credits: wei by address, as told.
    """

    backed = True

    def __init__(self, recipient: bytes = b"\x11" * 20, l1_block: int = 1000, round: int = 7) -> None:
        self.recipient = recipient
        facts = ChainFacts(l1_block, round, active=True)
        self.known: ChainNow | None = ChainNow(facts, TermsOf(l1_block, round, b"\x77" * 32), 10_000_000, fresh=True)
        self.payers: dict[bytes, PayerFacts] = {}
        self.learnable: dict[bytes, PayerFacts] = {}
        self.credits: dict[bytes, Fraction] = {}

    @property
    def kept_l1_block(self) -> int:
        return self.known.facts.l1_block if self.known else 0

    def now(self) -> ChainNow | None:
        return self.known

    def payer(self, address: bytes) -> PayerFacts | None:
        return self.payers.get(address)

    async def learn(self, address: bytes) -> PayerFacts | None:
        if address in self.learnable:
            self.payers[address] = self.learnable.pop(address)
        return self.payers.get(address)

    def credited(self, address: bytes, wei: Fraction) -> None:
        self.credits[address] = self.credits.get(address, Fraction()) + wei

    def set(self, *, l1_block: int | None = None, round: int | None = None, active: bool | None = None) -> None:
        """Let blocks or rounds pass, or the orchestrator drop out."""
        assert self.known is not None
        facts, terms = self.known.facts, self.known.terms
        facts = replace(
            facts,
            l1_block=facts.l1_block if l1_block is None else l1_block,
            round=facts.round if round is None else round,
            active=facts.active if active is None else active,
        )
        terms = replace(terms, l1_block=facts.l1_block, round=facts.round)
        self.known = replace(self.known, facts=facts, terms=terms)
