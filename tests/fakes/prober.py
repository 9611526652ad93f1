"""A Prober that says what it was told to say."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

from orchd.domain.ids import Address
from orchd.domain.model import HealthSpec, StreamSpec
from orchd.domain.ports import ProbeResult, ProbeWord


@dataclass
class FakeProber:
    """Attributes:
    words: by address; an address not in it says `otherwise`.
    """

    words: dict[Address, ProbeWord] = field(default_factory=dict)
    otherwise: ProbeWord = ProbeWord.READY
    asked: dict[Address, int] = field(default_factory=lambda: defaultdict(int))
    closed: list[Address] = field(default_factory=list)

    async def probe(
        self, address: Address, health: HealthSpec, *, early: bool, secrets: Collection[str] = ()
    ) -> ProbeResult:
        self.asked[address] += 1
        await asyncio.sleep(0.01)
        word = self.words.get(address, self.otherwise)
        return ProbeResult(word, f"told to say {word}", 0.01)

    async def close_streams(self, address: Address, stream: StreamSpec, timeout_s: float) -> str:
        self.closed.append(address)
        return "streams closed"
