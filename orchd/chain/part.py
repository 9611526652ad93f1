"""The chain, as a part: what backs tickets, read from RPC servers and cached."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

import structlog

from orchd.chain.doubts import chain_doubts
from orchd.chain.metrics import ChainCollector
from orchd.chain.rpc_chain import HowKnown, RpcChain
from orchd.chain.tables import BlockTable
from orchd.database.database import HasDatabase
from orchd.domain.chain import ChainStatus, RpcStatus
from orchd.domain.state import Snapshot
from orchd.errors import SettingsError
from orchd.history.ports import History, Kind
from orchd.part import Context, Part, Roots
from orchd.rpc.servers import RpcServers

START_S = 10.0
"""Longest wait for the servers at the start: there may be many that hang."""

log = structlog.get_logger("orchd.chain")


class RpcBelow(Protocol):
    """What the chain uses of the part below it; see `orchd.rpc.part.RpcPart`."""

    @property
    def rpc(self) -> RpcServers: ...


class ChainPart(Part):
    """Reads the chain, from before jobs are taken until the end.

    Attributes:
        chain: from `open` on.
    """

    name = "chain"
    chain: RpcChain

    def __init__(self, context: Context, database: HasDatabase, history: History, rpc: RpcBelow) -> None:
        self._context = context
        self._database = database
        self._history = history
        self._rpc = rpc
        self._opened: RpcChain | None = None

    async def open(self) -> None:
        rules = self._context.settings.chain
        for name, why in chain_doubts(rules):
            raise SettingsError(f"cannot use {name}: {why}")
        store = BlockTable(self._database.database, rules.id)
        self.chain = self._opened = RpcChain(self._rpc.rpc, store, rules, bytes.fromhex(rules.orchestrator[2:]))
        await self.chain.head.open()
        self.chain.turned.connect(self._turned)
        ChainCollector(self._context.metrics, self._status)

    async def start(self) -> None:
        """Read the chain once, so that it is known when the listeners open. If no server answers, orchd starts."""
        with suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self.chain.read()

    def roots(self) -> Roots:
        return {
            "chain": self.chain.follow(),
            "payers": self.chain.follow_payers(),
            "RPC servers": self._rpc.rpc.check(),
        }

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    def show(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot with how the chain stands."""
        return replace(snapshot, chain=self._status())

    def _status(self) -> ChainStatus:
        rules, chain, head = self._context.settings.chain, self.chain, self.chain.head
        servers = tuple(RpcStatus(each.name, each.works, each.why) for each in self._rpc.rpc.servers)
        if head.round is None:
            return ChainStatus(rules.id, rules.orchestrator, servers, l1_block=head.l1_block, why=head.why)
        return ChainStatus(
            id=rules.id,
            orchestrator=rules.orchestrator,
            servers=servers,
            l1_block=head.l1_block,
            round=head.round.number,
            read_at=head.read_unix,
            active=head.round.active,
            fresh=head.fresh,
            usable=head.usable,
            usable_until=head.read_unix + head.usable_s,
            why=head.why,
            payers=len(chain.payers),
        )

    def _turned(self, standing: HowKnown) -> None:
        head, max_stale_s = self.chain.head, self._context.settings.chain.max_stale_s
        match standing:
            case HowKnown.FRESH:
                log.info("chain_read", l1_block=head.l1_block, round=head.round.number if head.round else 0)
                self._history.note(Kind.CHAIN_UP, f"an RPC server tells of chain {self._context.settings.chain.id}")
            case HowKnown.STALE:
                then = (
                    f"known payers are served by what was read last, for {max_stale_s:g} s in all; new payers get 503"
                )
                log.warning("chain_stale", reason=head.why, next=then)
                self._history.note(Kind.CHAIN_DOWN, f"{head.why}; {then}")
            case HowKnown.UNKNOWN:
                then = "paid jobs get 503 until one of the RPC servers in chain.rpc_url_file answers; free ones go on"
                log.error("chain_unknown", reason=head.why, next=then)
                self._history.note(Kind.CHAIN_DOWN, f"{head.why}; {then}")
