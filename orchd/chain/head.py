"""Follows the chain: block, round, its hash, gas price, and whether we are active; all of it cached."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import inf
from typing import Any

import structlog

from orchd.chain.contracts import (
    ARBITRUM_ONE,
    NEWEST_BLOCK,
    Contracts,
    Round,
    contracts_calls,
    contracts_of,
    hash_calls,
    hash_of,
    l1_block_of,
    round_calls,
    round_of,
)
from orchd.chain.doubts import controller_of
from orchd.chain.pace import BEHIND, L1Pace, believed, most_at
from orchd.chain.ports import ChainNow
from orchd.chain.settings import ChainSettings
from orchd.chain.tables import BlockStore, KeptBlock
from orchd.domain.chain import ChainFacts, TermsOf, l1_block_after
from orchd.errors import StoreError
from orchd.rpc.ports import Rpc, RpcFault, RpcUnanswered

log = structlog.get_logger("orchd.chain")

ROUND_S = 60.0
"""How often all but the block is read. A round takes most of a day, and terms of the one before go on being good."""
CONTRACTS_S = 3600.0
"""How often the controller is asked where the contracts are. They are proxies and stay; a server may have lied."""


class ChainHead:
    """Reads the chain every few seconds.

    Args:
        recipient: 20 bytes: whose being active is asked for.
        unix: Unix time: dates what is kept and shown, and bounds what blocks there can be.

    Attributes:
        contracts: where they are; None = not known yet.
        round: what was read of it last; None = nothing yet.
        read_at: loop clock of the last time that all that was due could be read; None = never. `read_unix`: the same
            as Unix time.
        usable_s: for how many seconds after an answer it is gone by; at least until the next one is due.
        why: why the last reading failed; empty = it did not.
        kept_l1_block: the highest L1 block that is on the disk, so that the next start knows it.
    """

    def __init__(
        self,
        rpc: Rpc,
        store: BlockStore,
        rules: ChainSettings,
        recipient: bytes,
        unix: Callable[[], float] = time.time,
    ) -> None:
        self._rpc = rpc
        self._store = store
        self._rules = rules
        self._recipient = recipient
        self._unix = unix
        self._controller = controller_of(rules)
        self._pace = L1Pace(bounded=rules.id == ARBITRUM_ONE)
        self._fresh_s = 2 * rules.poll_s + rules.call_timeout_s
        self.usable_s = max(rules.max_stale_s, self._fresh_s)
        self._seen = self._highest = 0
        self._round_hash = (0, b"")
        self._round_due = self._contracts_due = 0.0
        self.contracts: Contracts | None = None
        self.round: Round | None = None
        self.read_at: float | None = None
        self.read_unix = 0.0
        self.why = "no RPC server has answered yet"
        self.kept_l1_block = 0

    async def open(self) -> None:
        """Take up the highest block that is kept.

        Raises:
            StoreError: it can't be read.
        """
        kept = await self._store.kept()
        self._seen = self._highest = self.kept_l1_block = kept.l1_block
        if kept.l1_block:
            self._pace.begin(kept.l1_block, _now() - max(0.0, self._unix() - kept.seen_at))

    @property
    def fresh(self) -> bool:
        """An RPC server has answered lately."""
        return self._age() <= self._fresh_s

    @property
    def usable(self) -> bool:
        """What was read is not too old to go by."""
        return self._age() <= self.usable_s

    @property
    def l1_block(self) -> int:
        """The highest L1 block seen; while no server answers, as many more as there can be by now."""
        if self.read_at is None or self.fresh:
            return self._highest
        return max(self._highest, l1_block_after(self._seen, Fraction(self._age())))

    def now(self) -> ChainNow | None:
        """As `ports.Chain.now`."""
        if self.round is None or not self.usable:
            return None
        block, (named, hashed) = self.l1_block, self._round_hash
        facts = ChainFacts(block, self.round.number, self.round.active)
        return ChainNow(facts, TermsOf(block, named, hashed), self.round.gas_price, self.fresh)

    async def read(self) -> None:
        """Read what is due. It never raises: what fails is noted in `why`."""
        try:
            block = await self._read_block()
            if self.round is None or _now() >= self._round_due:
                await self._read_round()
        except RpcUnanswered as exc:
            self.why = exc.why
            self.contracts = None  # Where they are may be what was wrong.
            self._round_due = 0.0
            return
        self._highest = max(self.l1_block, block)
        self._seen = max(self._seen, block)
        self.read_at, self.read_unix, self.why = _now(), self._unix(), ""
        self._pace.saw(block, self.read_at)
        await self._keep()

    async def _read_block(self) -> int:
        block = await self._rpc.ask([NEWEST_BLOCK], self._block_of)
        if not self._pace.allows(block, _now()):
            await self._compare()
            block = await self._rpc.ask([NEWEST_BLOCK], self._possible_block_of)
        return block

    async def _compare(self) -> None:
        """Ask all servers for the block, go on from the one that most of them have reached, and trust no other."""
        told = await self._rpc.ask_each([NEWEST_BLOCK], self._block_of)
        if not told:
            return
        most = believed([block for _, block in told])
        self._pace.begin(most, _now())
        for server, block in told:
            if not self._pace.allows(block, _now()):
                self._rpc.distrust(server, f"it says that the L1 block is {block}, and most servers say {most}")

    async def _read_round(self) -> None:
        contracts = await self._where()
        found = await self._rpc.ask(round_calls(contracts, self._recipient), round_of)
        hashes = hash_calls(contracts, found.number)
        self._round_hash = await self._rpc.ask(hashes, lambda results: hash_of(results, found.number))
        self.round, self._round_due = found, _now() + ROUND_S

    async def _where(self) -> Contracts:
        if self.contracts is None or _now() >= self._contracts_due:
            self.contracts = await self._rpc.ask(contracts_calls(self._controller), contracts_of)
            self._contracts_due = _now() + CONTRACTS_S
        return self.contracts

    def _block_of(self, results: Sequence[Any]) -> int:
        block = l1_block_of(results[0], self._rules.id)
        if block < self._seen - BEHIND:
            raise RpcFault(
                f"its L1 block {block} is far behind {self._seen}, which orchd has seen on chain {self._rules.id}; if "
                "that was a lie, stop orchd, and have `orchd tickets rotate` forget it"
            )
        most = most_at(self._unix()) if self._rules.id == ARBITRUM_ONE else None
        if most is not None and block > most:
            raise RpcFault(
                f"it says that the L1 block is {block}, and by this machine's clock there can't be more than {most} yet"
            )
        return block

    def _possible_block_of(self, results: Sequence[Any]) -> int:
        block = self._block_of(results)
        if not self._pace.allows(block, _now()):
            raise RpcFault(f"it says that the L1 block is {block}, which can't be yet")
        return block

    async def _keep(self) -> None:
        if self._seen <= self.kept_l1_block:
            return
        seen = self._seen
        try:
            await self._store.keep(KeptBlock(seen, self._unix()))
        except StoreError as exc:
            log.warning("l1_block_not_kept", l1_block=seen, reason=exc.message)
            return
        self.kept_l1_block = seen

    def _age(self) -> float:
        return inf if self.read_at is None else _now() - self.read_at


def _now() -> float:
    return asyncio.get_running_loop().time()
