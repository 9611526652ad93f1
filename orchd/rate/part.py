"""The rate between USD and ETH, as a part: read from time to time, for prices that the node and payers are told."""

from __future__ import annotations

import asyncio
from fractions import Fraction

import structlog

from orchd.domain.signal import Signal
from orchd.errors import OrchdError
from orchd.part import Context, Part, Roots
from orchd.rate.source import EthUsd, FixedRate, eth_usd_source
from orchd.rpc.ports import HasRpc

log = structlog.get_logger("orchd.rate")

RATE_PERIOD_S = 300.0
"""How often the rate is read; the node follows its own feed hourly (docs/protocol/byoc.md, 2.3)."""


class RatePart(Part):
    """Keeps the rate. As `ports.ExchangeRate`.

    Args:
        rpc: servers of the chain that the feed is on; None = there are none.
    """

    name = "rate"
    _source: EthUsd

    def __init__(self, context: Context, rpc: HasRpc | None) -> None:
        self._context = context
        self._rpc = rpc
        self._tried = asyncio.Event()
        self.eth_usd: Fraction | None = None
        self.changed: Signal[()] = Signal()

    async def open(self) -> None:
        rules = self._context.settings.orchestrator
        rpc = self._rpc.rpc if self._rpc is not None else None
        source = eth_usd_source(rules.eth_usd, rules.eth_usd_feed, rpc)
        assert source is not None, "the part is there only where a rate is set"
        self._source = source
        if isinstance(source, FixedRate):
            await self.read()

    def roots(self) -> Roots:
        return {"rate": self._follow()}

    async def tried(self) -> None:
        await self._tried.wait()

    async def read(self) -> None:
        """Read it once; one that can't be read leaves the last one."""
        try:
            rate = await self._source.read()
        except OrchdError as exc:
            log.warning("rate_unavailable", reason=exc.message, code=exc.code, kept=str(self.eth_usd or "none"))
        else:
            if rate != self.eth_usd:
                self.eth_usd = rate
                self.changed.emit()
        self._tried.set()

    async def _follow(self) -> None:
        while True:
            await self.read()
            await asyncio.sleep(RATE_PERIOD_S)
