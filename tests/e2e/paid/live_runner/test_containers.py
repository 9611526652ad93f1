"""A container written for a node works unchanged behind orchd alone, in a session that is paid for."""

from __future__ import annotations

import asyncio
import json
import signal
from base64 import b64encode
from contextlib import AsyncExitStack
from functools import partial
from urllib.parse import urlsplit

import docker
import pytest

from tests.doubles.signer.signer import RemoteSigner
from tests.e2e.conftest import Start
from tests.e2e.daemon import ROOT, Daemon
from tests.e2e.environments import PYTRICKLE, SDK
from tests.e2e.paid.chain import PaidChain
from tests.e2e.paid.live_runner.models import LIVE, PRICE, path_of
from tests.e2e.paid.live_runner.outside import selling
from tests.e2e.realtime import BLUE, boxed, inverted, name, need, pytrickle
from tests.e2e.scripts import PIPELINE
from tests.e2e.sdk_user import sdk_user
from tests.ports import free_port

APP = ROOT / "tests" / "e2e" / "paid" / "live_runner" / "callback_app.py"
ENTRY = {
    "pipeline": PIPELINE,
    "model_id": LIVE,
    "command": [str(SDK.python), str(APP)],
    "warm": True,
    "mode": "persistent",
    "maxSessions": 2,
    "price_per_unit": PRICE,
    "health": {"interval_s": 0.3},
}


async def test_a_container_makes_channels_and_proxies_for_its_session_and_ends_it(
    make: Start, chain: PaidChain
) -> None:
    need(SDK)
    async with selling(make, chain, ENTRY, settings={"log.level": "debug"}) as shop:
        await shop.daemon.until_state(LIVE, "ready")
        await shop.ready()
        payer = shop.payer
        session = await payer.begin(path_of(LIVE), seconds=200)
        made = await session.app("/make")
        assert made.status == 200, made.text
        said = json.loads(made.text)
        assert said["written"] == 200
        assert all(said[name].startswith(f"{shop.url}/") for name in ("channel", "proxy"))
        channel, proxy = (urlsplit(said[name]).path for name in ("channel", "proxy"))
        async with asyncio.timeout(60):
            segment = await payer.call(f"{channel}/0", method="GET", body="")
        assert (segment.status, segment.body) == (200, b"hello")
        behind = await payer.call(f"{proxy}/behind")
        assert json.loads(behind.text) == {"session": session.offered.manifest}
        await session.app("/end")  # Which cuts this request, too.
        await shop.daemon.until_model(LIVE, "is free", lambda model: not model["sessions"]["active"])
        assert (await session.app("/make")).status == 404
        assert {(await payer.call(path, method="GET", body="")).status for path in (f"{channel}/0", proxy)} == {404}
        # Who knows one of these could speak in the session, or pay in its name.
        auth = session.offered.auth.token
        secrets = [said["token"], *(path.rpartition("/")[2] for path in (channel, proxy))]
        shown = await all_that_is_said(shop.daemon)
        assert [secret for secret in (*secrets, b64encode(auth).decode(), auth.hex()) if secret in shown] == []
        assert session.offered.manifest in shown, "this test sees what is logged"


async def all_that_is_said(daemon: Daemon) -> str:
    """Return what its pages, commands and log show."""
    async with daemon.client.get(f"http://127.0.0.1:{daemon.admin_port}/metrics") as answer:
        said = [json.dumps(await daemon.status()), await answer.text()]
    for words in (("tickets",), ("tickets", "--json"), ("events",)):
        code, printed = await daemon.command(*words, *daemon.flags("state_dir"))
        assert code == 0, printed
        said.append(printed)
    return "\n".join((*said, daemon.log_text()))


def has_paid(signer: RemoteSigner, times: int) -> bool:
    return len(signer.paid) >= times


@pytest.mark.docker
async def test_a_paid_stream_of_a_container_is_started_again_in_its_session_after_a_restart(
    docked: Start, chain: PaidChain, api: docker.APIClient
) -> None:
    need(PYTRICKLE)
    need(SDK)
    entry = {**boxed(LIVE), "price_per_unit": PRICE}
    settings = {"public.runner_listen": f":{free_port()}"}
    async with selling(docked, chain, entry, settings=settings) as shop, shop.signer() as signer:
        daemon = shop.daemon
        await daemon.until_state(LIVE, "ready")
        await shop.listens()
        async with sdk_user(shop.url, name(LIVE), BLUE, signer.url) as client:
            session = client.told["session"]
            for ends in (daemon.end, daemon.kill):
                await daemon.until("it is topped up", partial(has_paid, signer, len(signer.paid) + 1))
                await client.do('params {"keep": 0}')
                await client.shows((inverted(BLUE)[0], 0, 0))
                await ends()
                await daemon.start()
                await daemon.until_model(LIVE, "has found its session", lambda model: model["streams"])
                await client.do("again")
                await client.shows(inverted(BLUE))
                assert client.told["session"] == session
            [runner] = (await daemon.model(LIVE))["runners"]
            api.kill(runner["handle"])
            await client.until("its events say that it has ended", lambda: "session_ended" in client.events)
        [only] = daemon.events("session_began")
        assert only["session"] == session
        code, printed = await daemon.command("tickets", "reconcile", *daemon.flags("state_dir"))
        assert code == 0, printed


async def test_a_stream_whose_credit_is_gone_ends_and_its_events_say_why(make: Start, chain: PaidChain) -> None:
    need(PYTRICKLE)
    need(SDK)
    entry = pytrickle(LIVE, price_per_unit=PRICE)
    hasty = partial(make, main=("tests.e2e.paid.hasty",))
    async with selling(hasty, chain, entry, settings={"streams.idle_s": "1"}) as shop, AsyncExitStack() as paying:
        signer = await paying.enter_async_context(shop.signer())
        await shop.daemon.until_state(LIVE, "ready")
        await shop.listens()
        async with sdk_user(shop.url, name(LIVE), BLUE, signer.url) as client:
            await paying.aclose()
            assert shop.daemon.process is not None
            shop.daemon.process.send_signal(signal.SIGWINCH)
            await client.until("its events say that it has ended", lambda: "session_ended" in client.events)
            assert str(client.events["session_ended"]).endswith("is used up")
        await shop.daemon.until_model(LIVE, "is free", lambda model: not model["sessions"]["active"])
