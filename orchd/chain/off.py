"""No chain: payers are trusted, or what is sold costs nothing. Blocks go on with the clock, so that terms expire."""

from __future__ import annotations

import time
from collections.abc import Callable
from fractions import Fraction

from orchd.chain.ports import ChainNow
from orchd.domain.chain import SECONDS_PER_L1_BLOCK, ChainFacts, PayerFacts, TermsOf

ROUND = 1
ROUND_HASH = bytes(31) + b"\1"
_PLENTY = 2**96
"""Wei, more than there are: nothing is refused for want of funds."""
_ANYBODY = PayerFacts(_PLENTY, _PLENTY, claimed=0, claimed_by_us=0, pool_size=1, withdraw_round=0)


class NoChain:
    """In place of the part that reads a chain.

    Attributes:
        chain: what is known without one.
    """

    def __init__(self) -> None:
        self.chain = OffChain()


class OffChain:
    """After `ports.Chain`.

    Args:
        recipient: 20 bytes, named in terms.
        now: Unix time.
    """

    backed = False

    def __init__(self, recipient: bytes = bytes(20), now: Callable[[], float] = time.time) -> None:
        self.recipient = recipient
        self._now = now
        self._l1_block = 0

    def now(self) -> ChainNow:
        """As `ports.Chain.now`."""
        block = self._block()
        return ChainNow(ChainFacts(block, ROUND, active=True), TermsOf(block, ROUND, ROUND_HASH), 0, fresh=True)

    def payer(self, address: bytes) -> PayerFacts:
        """As `ports.Chain.payer`."""
        return _ANYBODY

    async def learn(self, address: bytes) -> PayerFacts:
        """As `ports.Chain.learn`."""
        return _ANYBODY

    def credited(self, address: bytes, wei: Fraction) -> None:
        """As `ports.Chain.credited`."""

    def _block(self) -> int:
        self._l1_block = max(self._l1_block, int(self._now()) // SECONDS_PER_L1_BLOCK)  # A clock may be set back.
        return self._l1_block
