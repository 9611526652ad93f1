"""The daemon in this process, paid at its public listener: the real ledger and store, a chain of fixed values."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from orchd.app import App
from orchd.chain.part import ChainPart
from orchd.domain.ids import ModelKey
from orchd.domain.state import Snapshot
from orchd.errors import SettingsError
from orchd.part import Context, Part
from orchd.public.part import PublicPart
from orchd.rpc.part import RpcPart
from orchd.runtime.part import RuntimesPart
from orchd.settings.tree import Settings
from orchd.tasks import spawn
from orchd.tickets.ledger.part import LedgerPart
from orchd.tickets.ledger.ports import LedgerKey
from tests.advertise.rig import until
from tests.doubles.gateway.tokens import Token, read_token
from tests.jobs.messages import answer
from tests.ports import free_port
from tests.test_app import NoRuntimes
from tests.tickets.till import PRICE, WORK, FakeChain, job, job_header, paid_on, token_request
from tests.tickets.validation.made import PAYER
from tests.tickets.validation.sender import Signer

MODEL = ModelKey("image", "org/one")
KEY = LedgerKey("byoc", PAYER.address, WORK)


class FixedChain(Part):
    """In place of the part that reads the chain."""

    name = "chain"

    def __init__(self, *_: object) -> None:
        self.chain = FakeChain()

    def show(self, snapshot: Snapshot) -> Snapshot:
        return snapshot


class NoRpc(Part):
    """Nobody is asked."""

    name = "rpc"
    rpc = None

    def __init__(self, context: Context, secrets: object) -> None: ...


class Running:
    """A daemon, and a runner behind it that answers at once."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def say(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body of the answer at the public listener."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.app.part(PublicPart).port)
        writer.write(data)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        writer.close()
        await writer.wait_closed()
        return int(head[0].split()[1]), headers, body

    async def token(self, payer: Signer | None = PAYER) -> Token:
        status, _, body = await self.say(token_request(payer))
        assert status == 200, body
        return read_token(body.decode())

    async def work(self, payment: str | None = None, payer: Signer | None = PAYER) -> tuple[int, str]:
        """Return status, and the code of a refusal."""
        status, headers, _ = await self.say(job(payment, livepeer=job_header(payer)))
        return status, headers.get("livepeer-error", "")

    def balance(self) -> Fraction:
        return self.app.part(LedgerPart).ledger.balance(KEY).wei


def settings_of(tmp_path: Path, url: str, *, price: Mapping[str, Any], **more: Any) -> Settings:
    entry = {"pipeline": "image", "model_id": "org/one", "url": url, "pixels_per_unit": 1, **price}
    (tmp_path / "aiModels.json").write_text(json.dumps([entry]))
    given = {
        "models_file": str(tmp_path / "aiModels.json"),
        "state_dir": str(tmp_path / "state"),
        "jobs": {"listen": f"127.0.0.1:{free_port()}"},
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "hooks": {"order": ["tickets"]},
        "public": {"listen": "127.0.0.1:0", "doors": ["byoc"], "tls": False, "url": "https://orch.example.com"},
        "chain": {"id": 31337, "controller": "0x" + "1" * 40, "orchestrator": "0x" + "2" * 40},
    }
    return Settings.model_validate(given | more)


@contextlib.asynccontextmanager
async def daemon(
    tmp_path: Path, price: Mapping[str, Any] = MappingProxyType({"price_per_unit": PRICE}), **more: Any
) -> AsyncIterator[Running]:
    serving: set[asyncio.Task[None] | None] = set()

    async def runner(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    await reader.readexactly(2)
                writer.write(answer(b"ok"))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(runner, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    instead = {RuntimesPart: NoRuntimes, ChainPart: FixedChain, RpcPart: NoRpc}
    app = App(settings_of(tmp_path, url, price=price, **more), {}, instead)
    running = spawn(app.run(), name="daemon")
    try:
        at = Running(app)
        await until("the start, or its end", lambda: running.done() or app.accepting)
        if running.done():
            await running
        await until("the model to be ready", lambda: app.snapshot().models[MODEL].ready)
        yield at
    finally:
        app.stop("the test ends")
        if not running.done():
            await running
        server.close()
        await asyncio.gather(*(task for task in serving if task is not None))


async def test_a_paid_job_is_served_and_its_credit_outlives_the_daemon(tmp_path: Path) -> None:
    async with daemon(tmp_path) as at:
        payment = paid_on(await at.token(), 60)
        assert await at.work() == (402, "credit_short")
        assert await at.work(payment) == (200, "")
        assert await at.work(payment) == (402, "nonce_seen")
        left = at.balance()
        assert 0 < left < 60 * PRICE
        stale = paid_on(await at.token(), 60)
    async with daemon(tmp_path) as again:
        assert again.balance() == left
        assert await again.work(payment) == (402, "nonce_seen")
        assert await again.work(stale) == (200, ""), "terms outlive the daemon too"
        assert (await again.token()).balance > 0


async def test_without_a_hook_that_takes_payment_the_door_stays_shut(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"cannot use public\.doors: .* put tickets into hooks\.order"):
        async with daemon(tmp_path, hooks={"order": []}):
            pass


async def test_off_chain_payers_are_trusted_where_the_settings_say_so(tmp_path: Path) -> None:
    async with daemon(tmp_path, chain={"id": 0}) as at:
        assert (await at.token(None)).params is not None
        assert await at.work(payer=None) == (503, "off_chain")
    async with daemon(tmp_path, chain={"id": 0}, tickets={"off_chain": "trust"}) as at:
        assert await at.work(payer=None) == (200, "")


async def test_a_price_in_usd_is_told_to_payers_without_any_node(tmp_path: Path) -> None:
    usd = {"price_per_unit": 9, "pixels_per_unit": 10, "currency": "USD", "price_unit": "hour"}
    async with daemon(tmp_path, price=usd, orchestrator={"eth_usd": "3000"}) as at:
        token = await at.token()
        assert token.price.price_per_unit == 83_333_333_334, "0.9 USD an hour, in whole wei a second, rounded up"
        assert await at.work(paid_on(token, 60)) == (200, "")
    async with daemon(tmp_path, price=usd) as at:
        status, headers, _ = await at.say(token_request(PAYER))
        assert (status, headers["livepeer-error"]) == (503, "price_unknown")
