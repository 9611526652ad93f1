"""Prices of sessions over a restart, and for payers with prices of their own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.database.database import Database
from orchd.database.sql import Sql
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.errors import StoreError
from orchd.hooks.terms import Terms, terms_of
from orchd.tasks import cancel, spawn
from orchd.tickets import tables
from orchd.tickets.live_runner.prices import RETRY_S, LivePrices
from orchd.tickets.prices import WorkPrice
from orchd.tickets.validation.faults import PaymentRefused
from tests.database.parts import opened_own
from tests.jobs.model import KEY, a_model
from tests.virtual_time import run_virtual
from tests.wall_clock import WallClock

PAYER = "0xAbCd" + "00" * 18
USD = a_model(price=Price(Fraction(9, 10), currency=Currency.USD, unit=PriceUnit.HOUR))


def model(wei: int, key: ModelKey = KEY, **other: Any) -> Model:
    return a_model(key, price=Price(Fraction(wei)), **other)


class Life:
    """One run of orchd.

    Attributes:
        rate: USD per ETH.
        now: its monotonic clock.
    """

    def __init__(self, database: Database, now: float) -> None:
        self._database = database
        self.rate: Fraction | None = Fraction(3000)
        self.now = now
        self.prices = LivePrices(database, self._terms, 1800, lambda: self.now)

    def list(self, *models: Model) -> dict[ModelKey, int]:
        return {key: price.wei for key, price in self.prices.list_now(models).items()}

    def new(self, model: Model, payer: str = "") -> int:
        return self.prices.honoured(model, payer).wei

    async def kept(self, *wei: int) -> None:
        """Return once these prices, and no others, are in the database."""
        while sorted(each.price.wei for each in await self._database.read(tables.listed_prices)) != sorted(wei):
            continue

    def _terms(self, model: Model, payer: str) -> Terms:
        return terms_of(model, payer, eth_usd=self.rate)


@asynccontextmanager
async def life(folder: Path, now: float = 5.0) -> AsyncIterator[Life]:
    async with opened_own(folder) as database:
        made = Life(database, now)
        await made.prices.load()
        keeping = spawn(made.prices.keep(), name="keep")
        yield made
        await cancel(keeping)


async def test_models_are_listed_at_the_price_of_now_and_those_without_one_are_left_out(tmp_path: Path) -> None:
    other, third = ModelKey("text", "a"), ModelKey("text", "b")
    async with life(tmp_path) as now:
        listed = now.list(USD, model(0, other), a_model(third))
        assert listed == {KEY: 83_333_333_334, other: 0}
        now.rate = None
        assert now.list(USD) == {}
        with pytest.raises(PaymentRefused):
            now.new(USD)


async def test_a_rate_that_moves_is_a_change_of_price(tmp_path: Path) -> None:
    async with life(tmp_path) as now:
        now.list(USD)
        now.rate = Fraction(2700)
        assert now.new(USD) == 83_333_333_334
        now.now += 1799
        now.list(USD)
        assert now.new(USD) == 83_333_333_334, "it was raised when that was first seen"
        now.now += 1
        assert now.new(USD) == 92_592_592_593


async def test_a_payer_s_own_price_is_his_unless_directories_say_a_lower_one(tmp_path: Path) -> None:
    def priced(wei: int, own: int) -> Model:
        return model(wei, gateway_prices=((PAYER, Price(Fraction(own))),))

    async with life(tmp_path) as now:
        now.list(priced(1000, 800))
        assert [now.new(priced(1000, 800), payer) for payer in ("", PAYER.lower())] == [1000, 800]
        assert now.new(priced(1000, 5000), PAYER) == 5000, "he was meant to pay more than others"
        now.list(priced(2000, 1500))
        assert [now.new(priced(2000, 1500), payer) for payer in ("", PAYER)] == [1000, 1000]


async def test_who_starts_again_with_a_higher_price_honours_the_former_one(tmp_path: Path) -> None:
    async with life(tmp_path) as before:
        before.list(model(1000))
        await before.kept(1000)
    async with life(tmp_path, now=90_000) as after:
        after.list(model(2000))
        assert after.new(model(2000)) == 1000
        after.now += 1800
        assert after.new(model(2000)) == 2000


@pytest.mark.parametrize(("passed_s", "left_s"), [(1000, 800), (-3600, 1800)], ids=["later", "the clock was set back"])
async def test_a_raise_before_the_restart_is_honoured_for_what_is_left(
    tmp_path: Path, passed_s: int, left_s: int
) -> None:
    with WallClock().patched() as wall:
        async with life(tmp_path) as before:
            before.list(model(1000))
            before.list(model(2000))
            await before.kept(1000, 2000)
        wall.now += passed_s
        async with life(tmp_path, now=7.0) as after:
            after.list(model(2000))
            after.now += left_s - 1
            assert after.new(model(2000)) == 1000
            after.now += 1
            assert after.new(model(2000)) == 2000


async def test_prices_that_no_directory_carries_are_not_kept(tmp_path: Path) -> None:
    async with life(tmp_path) as now:
        for wei in (1000, 2000, 3000):
            now.list(model(wei))
            now.now += 1800
        await now.kept(3000)
        assert now.prices.honoured(model(3000)) == WorkPrice(3000)


class SpareDisk(Database):
    """Counts what is written."""

    writes = 0

    async def transaction(self, work: Callable[[Sql], Any]) -> Any:
        self.writes += 1


def test_a_model_that_is_full_from_time_to_time_costs_no_write(tmp_path: Path) -> None:
    async def busy() -> None:
        database = SpareDisk(tmp_path / "orchd.db", {})
        now = Life(database, 0)
        keeping = spawn(now.prices.keep(), name="keep")
        for _ in range(5):
            now.list(model(1000))
            await asyncio.sleep(1)
            now.list()
            await asyncio.sleep(1)
        assert database.writes == 1
        now.list(model(1001))
        await asyncio.sleep(1)
        now.list(model(1000))
        await asyncio.sleep(1)
        assert database.writes == 3
        await cancel(keeping)

    run_virtual(busy())


class FullDisk(Database):
    """Keeps nothing at first.

    Attributes:
        tries: how often something was to be kept.
    """

    tries = 0

    async def transaction(self, work: Callable[[Sql], Any]) -> Any:
        self.tries += 1
        if self.tries < 3:
            raise StoreError("cannot write: the disk is full")


def test_what_can_not_be_kept_is_tried_again(tmp_path: Path) -> None:
    async def trying() -> None:
        database = FullDisk(tmp_path / "orchd.db", {})
        now = Life(database, 0)
        keeping = spawn(now.prices.keep(), name="keep")
        with capture_logs() as logs:
            now.list(model(1000))
            await asyncio.sleep(4 * RETRY_S)
        assert database.tries == 3
        assert [(line["event"], line["reason"]) for line in logs] == [
            ("prices_not_kept", "cannot write: the disk is full")
        ] * 2
        await cancel(keeping)

    run_virtual(trying())


def test_what_is_not_sold_for_want_of_a_price_is_logged_once(tmp_path: Path) -> None:
    async def asked() -> None:
        async with life(tmp_path) as now:
            now.rate = None
            with capture_logs() as logs:
                assert now.list(USD) == now.list(USD) == {}
                now.rate = Fraction(3000)
                assert now.list(USD)
                now.rate = None
                assert now.list(USD) == {}
        assert [line["event"] for line in logs] == ["model_not_sold"] * 2
        assert f"cannot sell {KEY}: its price is not known" in logs[0]["reason"]

    asyncio.run(asked())
