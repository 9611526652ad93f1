"""What the ledger shows: the money of /status, the last line of `orchd status`, and its metrics."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchd.database.database import Database
from orchd.domain.chain import ChainFacts
from orchd.domain.ids import ModelKey
from orchd.domain.state import MoneyStatus, Snapshot
from orchd.errors import StoreError
from orchd.exposition import MetricsRegistry
from orchd.part import Context
from orchd.settings.tree import Settings
from orchd.status_face import Position
from orchd.text import TextStyle
from orchd.tickets.ledger.part import HoldsChain, LedgerPart
from orchd.tickets.ledger.status import FACE
from orchd.tickets.ledger.values import NO_SUMS, TicketSums, WinnerState
from tests.fakes.history import FakeHistory
from tests.tickets.ledger.kept import KEY, MODEL, S, paid, session, terms_of

OTHER = ModelKey("llm", "acme/chat")


@asynccontextmanager
async def shown(
    folder: Path, metrics: MetricsRegistry | None = None, round: int | None = None
) -> AsyncIterator[LedgerPart]:
    """The part, with metrics of two models; nothing but calls moves it.

    Args:
        round: of the chain; None = nothing is known of it.
    """
    metrics = metrics or MetricsRegistry()
    context = cast(Context, SimpleNamespace(settings=Settings(), state_dir=folder, env={}, metrics=metrics))
    database = Database(folder / "orchd.db")
    await database.open()
    facts = SimpleNamespace(facts=ChainFacts(100, round or 0, active=True))
    chain = cast(HoldsChain, SimpleNamespace(chain=SimpleNamespace(now=lambda: facts if round else None)))
    part = LedgerPart(context, cast(Any, SimpleNamespace(database=database)), FakeHistory(), 7, chain)
    await part.open()
    for key in (MODEL, OTHER):
        metrics.define(key)
    yield part
    await part.close()
    await database.close()


async def two_winners(part: LedgerPart) -> Fraction:
    """Take ten tickets of which two win, for work that goes on; return what they are worth."""
    terms = terms_of(part.ledger)
    balance = await part.ledger.take(paid(terms, range(1, 11), winning=[3, 7]), KEY, MODEL)
    part.ledger.begin(session())
    part.ledger.charge("job 1", S)
    return balance.wei


def values(registry: MetricsRegistry) -> dict[tuple[str, str], float]:
    """Return what `/metrics` says, by name and model."""
    return {
        (each.name, each.labels.get("model_id", "")): each.value
        for family in text_string_to_metric_families(registry.render().decode())
        for each in family.samples
    }


async def test_status_has_the_money_and_the_last_line_tells_it(tmp_path: Path) -> None:
    async with shown(tmp_path) as part:
        worth = await two_winners(part)
        snapshot = part.show(Snapshot())
        assert snapshot.money == MoneyStatus(1, worth, worth, 72 * 10**15, 72 * 10**15)
        told = json.loads(json.dumps(FACE.whole(snapshot)))
        assert told["money"]["won_wei"] == "72000000000000000"
        assert FACE.overview[Position.MONEY](told, TextStyle()) == [
            "",
            "Money: 1 paid session now; earned 0.00004 ETH today, 0.00004 ETH in all; won 0.072 ETH, owed 0.072 ETH",
        ]
        assert max(Position) is Position.MONEY


async def test_without_tickets_nothing_is_said_of_money() -> None:
    told = FACE.whole(Snapshot())
    assert told == {"money": None}
    assert FACE.overview[Position.MONEY](told, TextStyle()) == []


async def test_metrics_have_what_each_model_earns_in_eth(tmp_path: Path) -> None:
    metrics = MetricsRegistry()
    async with shown(tmp_path, metrics) as part:
        worth = await two_winners(part)
        [winner, _] = part.ledger.view.owed
        await part.ledger.mark([winner], WinnerState.EXPIRED)
        found = values(metrics)
        paint, chat = MODEL.model_id, OTHER.model_id
        assert found["orchd_paid_sessions", paint] == 1
        assert found["orchd_tickets_expected_eth_total", paint] == pytest.approx(float(worth) / 1e18)
        assert found["orchd_tickets_won_eth_total", paint] == pytest.approx(0.072)
        assert found["orchd_tickets_owed_eth", paint] == pytest.approx(0.036)
        assert found["orchd_tickets_expired_eth_total", paint] == pytest.approx(0.036)
        assert found["orchd_ticket_winners_total", paint] == 2
        assert found["orchd_ticket_winners_expected_total", paint] == pytest.approx(10 / 9000)
        assert found["orchd_tickets_expected_eth_total", chat] == 0
        assert found["orchd_ledger_failures_total", ""] == 0
        part.ledger.view.forfeited = worth
        assert values(metrics)["orchd_tickets_forfeited_eth_total", ""] == pytest.approx(float(worth) / 1e18)
        await part.ledger.end("job 1", S)
        assert values(metrics)["orchd_paid_sessions", paint] == 0


@pytest.mark.parametrize(("round", "left"), [(10, 2), (11, 1), (None, None)])
async def test_metrics_have_the_rounds_until_a_winner_is_lost(
    tmp_path: Path, round: int | None, left: int | None
) -> None:
    metrics = MetricsRegistry()
    async with shown(tmp_path, metrics, round) as part:
        assert ("orchd_tickets_rounds_left", "") not in values(metrics)
        await two_winners(part)
        assert values(metrics).get(("orchd_tickets_rounds_left", "")) == left


async def test_what_can_not_be_kept_is_counted(tmp_path: Path) -> None:
    metrics = MetricsRegistry()
    async with shown(tmp_path, metrics) as part:
        (tmp_path / "orchd.db").rename(tmp_path / "away.db")
        with pytest.raises(StoreError):
            await part.ledger.take(paid(terms_of(part.ledger), [1]), KEY, MODEL)
        assert values(metrics)["orchd_ledger_failures_total", ""] == 1
        (tmp_path / "away.db").rename(tmp_path / "orchd.db")


async def test_the_sums_of_a_model_are_those_of_its_payers_also_after_a_restart(tmp_path: Path) -> None:
    for life in range(2):
        async with shown(tmp_path) as part:
            for number in range(1 + 10 * life, 6 + 10 * life):
                key = KEY._replace(payer=bytes([number % 7]) * 20)
                model = OTHER if number % 2 else MODEL
                await part.ledger.take(paid(terms_of(part.ledger, number), [number], [number], key.payer), key, model)
            for model in (MODEL, OTHER):
                total = NO_SUMS
                for key_of, sums in part.ledger.sums().items():
                    if key_of.model == model:
                        total = total.plus(sums, NO_SUMS)
                assert part.ledger.view.model_sums[model] == total != TicketSums()
                assert part.ledger.view.owed_wei[model] == total.won_wei
