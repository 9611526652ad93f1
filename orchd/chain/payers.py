"""What backs the payers' tickets, cached: read while they pay, dropped when they don't, bounded in number."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from orchd import tasks
from orchd.domain.chain import PayerFacts
from orchd.rpc.ports import RpcUnanswered

MOST_PAYERS = 4096
"""Of whom tickets were credited. They are read again as long as they pay."""
MOST_STRANGERS = 1024
"""Others who have asked. Anybody can make up addresses, so these push out no payer."""
IDLE_S = 600.0
"""A payer who is not asked about for so many seconds is read no more; it is dropped after `DROP_S`."""
DROP_S = 3600.0
LEARN_S = 2.0
"""Longest wait for a payer who is not known yet."""
MOST_LEARNED = 256
"""Payers who are asked about at once, at most."""
TOGETHER = 20
"""Payers in one request."""
_WORKERS = 2

ReadPayers = Callable[[Sequence[bytes], bool], Awaitable[Mapping[bytes, PayerFacts]]]
"""Reads several payers from the chain; True = somebody waits for them. Raises RpcUnanswered."""


@dataclass(slots=True)
class _Payer:
    """One of them.

    Attributes:
        facts: None = never read.
        read_at: loop clock of `facts`. `used_at`: of the last time that it was asked about.
        credited: wei, in all. `known`: of these, what had been credited when `facts` were read.
    """

    used_at: float
    facts: PayerFacts | None = None
    read_at: float = 0.0
    credited: Fraction = Fraction()
    known: Fraction = Fraction()


class PayerCache:
    """What is known of them.

    Args:
        answering: returns whether an RPC server has answered lately: then only fresh facts will do.
        fresh_s: seconds; facts that are older count less what was credited since.
        max_stale_s: seconds; older facts are none.
    """

    def __init__(self, read: ReadPayers, answering: Callable[[], bool], fresh_s: float, max_stale_s: float) -> None:
        self._read = read
        self._answering = answering
        self._fresh_s = fresh_s
        self._max_stale_s = max_stale_s
        self._payers: OrderedDict[bytes, _Payer] = OrderedDict()
        self._strangers: OrderedDict[bytes, _Payer] = OrderedDict()
        self._learning: dict[bytes, asyncio.Future[None]] = {}
        self._waiting: deque[bytes] = deque()
        self._workers: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._payers)

    def get(self, address: bytes) -> PayerFacts | None:
        """As `ports.Chain.payer`."""
        return self._known(address, self._fresh_s if self._answering() else self._max_stale_s)

    async def learn(self, address: bytes) -> PayerFacts | None:
        """As `ports.Chain.learn`."""
        if not self._is_fresh(address) and (learned := self._begin(address)) is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(LEARN_S):
                    await asyncio.shield(learned)
        return self._known(address, self._max_stale_s)

    def credited(self, address: bytes, wei: Fraction) -> None:
        """As `ports.Chain.credited`: from now on it is a payer."""
        payer = self._used(address) or _Payer(_now())
        self._strangers.pop(address, None)
        payer.credited += wei
        _put(self._payers, address, payer, MOST_PAYERS)

    async def refresh(self) -> None:
        """Read again all who have been asked about lately, and drop who was not for long.

        Raises:
            RpcUnanswered: no server tells.
        """
        now = _now()
        for of in (self._payers, self._strangers):
            for address in [each for each, payer in of.items() if now - payer.used_at > DROP_S]:
                del of[address]
        due = [address for address, payer in self._payers.items() if now - payer.used_at <= IDLE_S]
        for at in range(0, len(due), TOGETHER):
            await self._take_in(due[at : at + TOGETHER], hurry=False)

    async def close(self) -> None:
        """End what is under way."""
        await tasks.cancel(*self._workers)

    def _known(self, address: bytes, max_age_s: float) -> PayerFacts | None:
        payer = self._used(address)
        if payer is None or payer.facts is None:
            return None
        age_s = _now() - payer.read_at
        if age_s > max_age_s:
            return None
        return payer.facts if age_s <= self._fresh_s else payer.facts.less(payer.credited - payer.known)

    def _used(self, address: bytes) -> _Payer | None:
        for of in (self._payers, self._strangers):
            if (payer := of.get(address)) is not None:
                of.move_to_end(address)
                payer.used_at = _now()
                return payer
        return None

    def _is_fresh(self, address: bytes) -> bool:
        payer = self._used(address)
        return payer is not None and payer.facts is not None and _now() - payer.read_at <= self._fresh_s

    def _begin(self, address: bytes) -> asyncio.Future[None] | None:
        """Have a payer read, and return what ends with that; None = too many are read already."""
        if (learned := self._learning.get(address)) is not None:
            return learned
        if len(self._learning) >= MOST_LEARNED:
            return None
        learned = self._learning[address] = asyncio.get_running_loop().create_future()
        self._waiting.append(address)
        if len(self._workers) < _WORKERS:
            worker = tasks.spawn(self._learn_waiting(), name="read payers")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)
        return learned

    async def _learn_waiting(self) -> None:
        """Read those who wait, as many as there are in one request, until nobody waits."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), TOGETHER))]
            try:
                with suppress(RpcUnanswered):  # Who waits sees that there is nothing new.
                    await self._take_in(batch, hurry=True)
            finally:
                for address in batch:
                    self._learning.pop(address).set_result(None)

    async def _take_in(self, addresses: Sequence[bytes], *, hurry: bool) -> None:
        # What is credited while the answer is on its way is not in it.
        asked_at, before = _now(), {each: self._credit(each) for each in addresses}
        for address, facts in (await self._read(addresses, hurry)).items():
            payer = self._payers.get(address) or self._strangers.get(address)
            if payer is None:
                payer = _Payer(_now())
                _put(self._strangers, address, payer, MOST_STRANGERS)
            if asked_at >= payer.read_at:  # Two may have read it at once.
                payer.facts, payer.read_at, payer.known = facts, asked_at, before[address]

    def _credit(self, address: bytes) -> Fraction:
        payer = self._payers.get(address)
        return payer.credited if payer is not None else Fraction()


def _put(of: OrderedDict[bytes, _Payer], address: bytes, payer: _Payer, most: int) -> None:
    """Add or replace one, and drop who was not used for longest if there are too many."""
    of[address] = payer
    of.move_to_end(address)
    while len(of) > most:
        of.popitem(last=False)


def _now() -> float:
    return asyncio.get_running_loop().time()
