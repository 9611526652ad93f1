"""The chain as RPC servers tell it, cached: nothing on a job's path waits for one of them, but for a new payer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from fractions import Fraction

import structlog

from orchd.chain.contracts import payer_calls, payer_of
from orchd.chain.head import ChainHead
from orchd.chain.payers import LEARN_S, PayerCache
from orchd.chain.ports import ChainNow
from orchd.chain.settings import ChainSettings
from orchd.chain.tables import BlockStore
from orchd.domain.chain import PayerFacts
from orchd.domain.signal import Signal
from orchd.rpc.ports import Rpc, RpcUnanswered

log = structlog.get_logger("orchd.chain")

_CALLS_A_PAYER = 2


class HowKnown(StrEnum):
    """How well the chain is known."""

    UNKNOWN = "unknown"
    """Nothing, or nothing new enough to go by."""
    STALE = "stale"
    """No RPC server answers; what was known is gone by for a while."""
    FRESH = "fresh"


class RpcChain:
    """After `ports.Chain`.

    Args:
        recipient: 20 bytes.

    Attributes:
        head, payers: what is known.
        standing: how well, as of the last reading; None = there was none.
        turned: `standing` has become another.
    """

    backed = True

    def __init__(self, rpc: Rpc, store: BlockStore, rules: ChainSettings, recipient: bytes) -> None:
        self._rpc = rpc
        self._rules = rules
        self.recipient = recipient
        self.head = ChainHead(rpc, store, rules, recipient)
        fresh_s = 2 * rules.payer_poll_s + rules.call_timeout_s
        self.payers = PayerCache(self._read_payers, lambda: self.head.fresh, fresh_s, max(fresh_s, rules.max_stale_s))
        self.standing: HowKnown | None = None
        self.turned: Signal[HowKnown] = Signal()

    def now(self) -> ChainNow | None:
        """As `ports.Chain.now`."""
        return self.head.now()

    def payer(self, address: bytes) -> PayerFacts | None:
        """As `ports.Chain.payer`."""
        return self.payers.get(address)

    async def learn(self, address: bytes) -> PayerFacts | None:
        """As `ports.Chain.learn`."""
        return await self.payers.learn(address)

    def credited(self, address: bytes, wei: Fraction) -> None:
        """As `ports.Chain.credited`."""
        self.payers.credited(address, wei)

    async def read(self) -> None:
        """Read the chain once, and say when it has become known or unknown."""
        was_active = self.head.round.active if self.head.round else True
        try:
            await self.head.read()
        finally:
            self._turn()
        if (now := self.head.round) is not None and now.active != was_active:
            if now.active:
                log.info("orchestrator_active", round=now.number)
            else:
                log.warning(
                    "orchestrator_not_active",
                    round=now.number,
                    next="tickets are refused, as they could not be redeemed; is chain.orchestrator right, and in the "
                    "active set?",
                )

    async def follow(self) -> None:
        """Read the chain every few seconds, for ever."""
        while True:
            await asyncio.sleep(self._rules.poll_s)
            await self.read()

    async def follow_payers(self) -> None:
        """Read those who pay every few seconds, for ever."""
        while True:
            await asyncio.sleep(self._rules.payer_poll_s)
            try:
                await self.payers.refresh()
            except RpcUnanswered as exc:
                log.debug("payers_not_read", reason=exc.why)  # That no server answers is said elsewhere.

    async def close(self) -> None:
        """End what is under way."""
        await self.payers.close()

    def _turn(self) -> None:
        head = self.head
        standing = HowKnown.FRESH if head.fresh else HowKnown.STALE if head.usable else HowKnown.UNKNOWN
        if standing is not self.standing:
            self.standing = standing
            self.turned.emit(standing)

    async def _read_payers(self, addresses: Sequence[bytes], hurry: bool) -> Mapping[bytes, PayerFacts]:
        contracts, known = self.head.contracts, self.head.round
        if contracts is None or known is None:
            raise RpcUnanswered([("all", self.head.why)])
        calls = [call for each in addresses for call in payer_calls(contracts, each, self.recipient)]
        step = _CALLS_A_PAYER
        timeout_s = min(LEARN_S / 2, self._rules.call_timeout_s) if hurry else None  # Time for a second server.
        return await self._rpc.ask(
            calls,
            lambda results: {
                address: payer_of(results[at * step : (at + 1) * step], known.pool_size)
                for at, address in enumerate(addresses)
            },
            timeout_s,
        )
