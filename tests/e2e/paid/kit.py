"""An orchd that is paid, and who pays it: gateways, and payers that do what gateways don't."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from orchd.tickets.validation.payment import read_terms
from tests.doubles.gateway.credentials import Identity, Job
from tests.doubles.gateway.gateway import Gateway, GatewaySettings
from tests.doubles.gateway.purse import Funds, Purse
from tests.doubles.gateway.tokens import Token, read_token
from tests.doubles.shared import caller
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.clock import Clock
from tests.e2e.conftest import Start
from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.e2e.paid.chain import PaidChain
from tests.ports import free_port
from tests.runners.local import LocalRunner, scripted
from tests.tickets.validation.sender import Signer, header

FREE, PAID = "free", "paid"
PRICE = 10**9
"""Wei per second of the model `paid`."""
TICKET = 60 * PRICE
"""Wei that a ticket is worth: the 60 s that must be in hand."""
CALM = {"interval_s": 3600, "failures": 1000}


def paid_settings(chain: PaidChain | None) -> dict[str, str]:
    """Return the settings of an orchd that is paid on this chain; None = off chain."""
    port = free_port()
    return {
        "public.listen": f"127.0.0.1:{port}",
        "public.url": f"https://127.0.0.1:{port}",
        "public.doors": "byoc",
        "public.answer_timeout_s": "60",
        "hooks.order": "tickets",
        "tickets.value": str(TICKET),
        **(chain.settings if chain else {}),
    }


def models(url: str, price: int) -> list[dict[str, Any]]:
    """Return entries of a free and a paid model that one runner serves."""
    common = {"pipeline": "text-to-image", "url": url, "maxSessions": 4, "health": CALM}
    return [
        {**common, "model_id": name, "capability": name, "price_per_unit": wei, "price_unit": "second"}
        for name, wei in ((FREE, 0), (PAID, price))
    ]


def gateway_of(chain: PaidChain | None, *orchestrators: str, **limits: int) -> Gateway:
    """Return a gateway before these; nobody is late to it."""

    async def funds() -> Funds:
        assert chain is not None
        return await chain.funds(chain.gateway)

    purse = Purse(chain.gateway, **limits) if chain else None
    return Gateway(GatewaySettings(orchestrators, purse), Clock(), funds)


async def job_by(gateway: Gateway, capability: str, timeout_s: int = 60) -> Answer:
    """Send a job to a gateway, as its caller does."""
    said = {"request": "{}", "parameters": "{}", "capability": capability, "timeout_seconds": timeout_s}
    headers = {"Livepeer": base64.b64encode(json.dumps(said).encode()).decode(), "Content-Type": "application/json"}
    return await caller.call(gateway.url, "POST", "/process/request/run", headers, "{}")


@dataclass(frozen=True)
class Payer:
    """Talks to one orchd itself: what a gateway would not do.

    Attributes:
        account: who signs jobs, and pays.
        url: of orchd's public listener.
    """

    account: Signer
    url: str

    async def ask(self, capability: str = PAID) -> Answer:
        """Ask for a token."""
        headers = Identity(self.account).token_headers(capability)
        return await caller.call(self.url, "GET", "/process/token", headers)

    async def token(self, capability: str = PAID) -> Token:
        """Return a token, once an RPC server has told of this payer: on a busy machine it may be late."""
        async with asyncio.timeout(PATIENCE_S):
            while (answer := await self.ask(capability)).status == 503:
                assert refusal(answer)[1] in ("chain_unknown", "sender_unknown"), answer.text
        assert answer.status == 200, answer.text
        return read_token(answer.text)

    def tickets(self, token: Token, nonces: Sequence[int]) -> str:
        """Return a payment header with these tickets."""
        assert token.params is not None
        terms = read_terms(token.params, None)
        price = Fraction(token.price.price_per_unit, token.price.pixels_per_unit)
        return header(self.account.payment(terms, nonces, price)).decode()

    def job_headers(self, capability: str) -> dict[str, str]:
        """Return those of a job without a payment."""
        job = Job("job-1", "{}", "{}", capability, 60)
        return {"Livepeer": Identity(self.account).job_header(job), "Content-Type": "application/json"}

    async def send(self, payment: str | None, capability: str = PAID) -> Answer:
        """Send a job with this payment."""
        headers = self.job_headers(capability)
        if payment is not None:
            headers["Livepeer-Payment"] = payment
        return await caller.call(self.url, "POST", "/process/request/run", headers, "{}")


def expiration_of(token: Token) -> int:
    """Return the L1 block from which on a token's terms are void."""
    assert token.params is not None
    return int.from_bytes(token.params.expiration_block, "big")


def refusal(answer: Answer) -> tuple[int, str]:
    """Return status and code of an answer."""
    return answer.status, str(json.loads(answer.text)["error"])


@asynccontextmanager
async def selling(
    make: Start,
    chain: PaidChain | None,
    name: str = "orchd",
    *,
    main: Sequence[str] = ("orchd",),
    price: int = PRICE,
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Selling]:
    """Run an orchd that sells the two models of a scripted runner.

    Args:
        main: what is run in place of `orchd`.
        price: wei per second of the model `paid`.
        settings: others than usual.
    """
    async with scripted() as runner:
        chosen = paid_settings(chain) | dict(settings or {})
        daemon = make(name, settings=chosen, main=main)
        daemon.write(*models(runner.url, price))
        async with daemon:
            plain = chosen.get("public.tls") == "false"
            shop = Selling(daemon, runner, f"http://{chosen['public.listen']}" if plain else chosen["public.url"])
            await shop.ready(chain)
            yield shop


@dataclass(frozen=True)
class Selling:
    """An orchd, the runner behind it, and the URL of its public listener."""

    daemon: Daemon
    runner: LocalRunner
    url: str

    async def ready(self, chain: PaidChain | None) -> None:
        """Wait until both models are, and until it knows the gateway's account."""
        for model in (FREE, PAID):
            await self.daemon.until_state(model, "ready")
        if chain is not None:
            await Payer(chain.gateway, self.url).token()
