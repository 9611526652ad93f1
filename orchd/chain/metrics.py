"""How well the chain is known. Absent where orchd reads none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from orchd.domain.chain import ChainStatus
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import Family, Page, sample

L1_BLOCK = Family(
    "orchd_chain_l1_block",
    "gauge",
    "L1 block by which terms expire: the highest seen, or an estimate while no RPC server answers.",
    unit="block",
    good_for="does the chain go on?",
)
ROUND = Family(
    "orchd_chain_round", "gauge", "Last initialized round.", unit="round", good_for="was the round initialized?"
)
AGE = Family(
    "orchd_chain_age_seconds",
    "gauge",
    "Time since an RPC server last told how the chain stands; absent = none did since the start.",
    unit="seconds",
    good_for="will payments be refused soon, as no RPC server answers?",
)
ACTIVE = Family(
    "orchd_chain_active",
    "gauge",
    "1 = the orchestrator is active in this round, so that tickets can be redeemed.",
    unit="0 or 1",
    good_for="are tickets refused as the orchestrator has dropped out of the active set?",
)
PAYERS = Family(
    "orchd_chain_payers",
    "gauge",
    "Payers whose deposit and reserve are followed.",
    unit="payers",
    good_for="how many calls do payers cost at the RPC provider?",
)


class ChainCollector:
    """`exposition.Collector` of the chain."""

    families = (L1_BLOCK, ROUND, AGE, ACTIVE, PAYERS)

    def __init__(self, registry: MetricsRegistry, status: Callable[[], ChainStatus]) -> None:
        self._status = status
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        now = self._status()
        if now.read_at is None:
            yield "", "", "", "", sample(PAYERS.name, now.payers)
            return
        yield (
            sample(L1_BLOCK.name, now.l1_block),
            sample(ROUND.name, now.round),
            sample(AGE.name, max(0.0, time.time() - now.read_at)),
            sample(ACTIVE.name, int(now.active)),
            sample(PAYERS.name, now.payers),
        )
