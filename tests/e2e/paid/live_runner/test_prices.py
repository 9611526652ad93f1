"""Prices that change under clients who have read former ones, and gaps between two payments."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import pytest

from orchd.tickets.validation.messages import PaymentMessage
from orchd.tickets.validation.wire import decode
from tests.doubles.sdk_client.client import NoRunner, Runner
from tests.doubles.sdk_client.http import request
from tests.e2e.paid.live_runner.inside import PayingClient, Shop
from tests.e2e.paid.live_runner.models import LIVE, PRICE
from tests.e2e.paid.live_runner.stories import story

HONOURED_S = 60
HONOURED = {"tickets": {"former_price_s": HONOURED_S}}
DEARER = 2 * PRICE
TOO_DEAR = 3 * 10**12


def write_price(at: Shop, wei: int) -> None:
    """Write another price into aiModels.json."""
    file = at.folder / "aiModels.json"
    entries = json.loads(file.read_text())
    for each in entries:
        if each["model_id"] == LIVE:
            each["price_per_unit"] = wei
    file.write_text(json.dumps(entries))


async def listed_at(client: PayingClient, wei: int) -> Runner:
    """Return the model once discovery lists it at this price."""
    while True:
        found = await client.find(LIVE)
        assert found.price_info is not None
        if found.price_info["price"] == wei:
            return found
        await asyncio.sleep(1)


async def paid(client: PayingClient, listed: Runner) -> int:
    """Reserve a session, end it, and return its price."""
    session = await client.sdk.reserve([listed])
    await session.close()
    payment = decode(PaymentMessage, base64.b64decode(client.signer.paid[-1]["payment"]))
    assert payment.expected_price is not None
    return payment.expected_price.price_per_unit


def test_after_a_raise_clients_of_old_directories_pay_what_those_say(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            before = await client.find(LIVE)
            write_price(at, DEARER)
            after = await listed_at(client, DEARER)
            assert [await paid(client, each) for each in (before, after)] == [PRICE, PRICE]
            await asyncio.sleep(HONOURED_S)
            with pytest.raises(NoRunner, match="maxPrice"):
                await client.sdk.reserve([before])
            assert await paid(client, after) == DEARER
            write_price(at, PRICE)
            assert await paid(client, await listed_at(client, PRICE)) == PRICE

    story(tmp_path, told, HONOURED)


def test_a_raise_while_it_was_stopped_is_one_too(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            before = await client.find(LIVE)
            await at.stop()
            write_price(at, DEARER)
            await at.start()
            after = await listed_at(client, DEARER)
            assert [await paid(client, each) for each in (before, after)] == [PRICE, PRICE]
            await asyncio.sleep(HONOURED_S)
            assert await paid(client, after) == DEARER

    story(tmp_path, told, HONOURED)


def test_who_has_begun_pays_the_price_of_the_beginning(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            write_price(at, DEARER)
            await listed_at(client, DEARER)
            await asyncio.sleep(HONOURED_S + 30)
            assert session.task is not None
            assert not session.task.done()
            await session.close()
            payments = [decode(PaymentMessage, base64.b64decode(each["payment"])) for each in client.signer.paid]
            assert {each.expected_price.price_per_unit for each in payments if each.expected_price} == {PRICE}

    story(tmp_path, told, HONOURED)


def test_a_signer_that_stood_still_pays_for_all_of_the_gap(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            session = await client.sdk.reserve([await client.find(LIVE)])
            await asyncio.sleep(200)
            client.signer.faults.hang(True)
            for _ in range(3):
                await asyncio.sleep(20)
                await request("POST", f"{session.app_url}/echo", {})
            client.signer.faults.hang(False)
            credit = at.credit(session.session_id)
            await asyncio.sleep(15)
            assert session.task is not None
            assert not session.task.done()
            assert at.credit(session.session_id) > credit + 45 * PRICE
            await session.close()

    story(tmp_path, told, HONOURED)


def test_what_no_signer_pays_is_sold_to_nobody(tmp_path: Path) -> None:
    async def told(at: Shop) -> None:
        async with at.client() as client:
            write_price(at, TOO_DEAR)
            listed = await listed_at(client, TOO_DEAR)
            await asyncio.sleep(HONOURED_S)
            with pytest.raises(NoRunner):
                await client.sdk.reserve([listed])
            assert client.signer.paid == []
            assert at.active(LIVE) == 0

    story(tmp_path, told, HONOURED)
