"""What the chain part offers to those above it."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from orchd.domain.chain import ChainFacts, PayerFacts, TermsOf


@dataclass(frozen=True, slots=True)
class ChainNow:
    """The chain as it is taken to be at this moment.

    Attributes:
        facts: what payments are judged by.
        terms: what new terms of payment are made of.
        gas_price: wei.
        fresh: an RPC server has answered lately. While none does, who is not known yet gets no terms, and those who are
            known go on for some minutes more.
    """

    facts: ChainFacts
    terms: TermsOf
    gas_price: int
    fresh: bool


class Chain(Protocol):
    """Chain facts, cached: nothing on a job's path waits for an RPC server, except `learn` for a payer seen first.

    Attributes:
        recipient: 20 bytes: the orchestrator's address, as it is registered; all tickets are paid to it.
        backed: tickets are worth money. False = off chain: what is sold costs nothing, or payers are trusted.
    """

    @property
    def recipient(self) -> bytes: ...

    @property
    def backed(self) -> bool: ...

    def now(self) -> ChainNow | None:
        """Return what is known; None = nothing yet, or nothing for too long."""
        ...

    def payer(self, address: bytes) -> PayerFacts | None:
        """Return what is known of a payer without asking anybody; None = nothing, or nothing new enough. While no RPC
        server answers, older facts will do, and what the payer has been credited since counts as spent.

        Args:
            address: 20 bytes.
        """
        ...

    async def learn(self, address: bytes) -> PayerFacts | None:
        """As `payer`, but ask an RPC server about one of whom nothing fresh is known, for at most 2 seconds.

        Many at once ask once; how many different payers are asked about at a time is bounded.
        """
        ...

    def credited(self, address: bytes, wei: Fraction) -> None:
        """Note that a payer was credited with this much."""
        ...
