"""An orchd that sells sessions, as users run it: a process with TLS, on a chain; and signers of payers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tests.doubles.gateway.purse import Funds
from tests.doubles.signer.rules import LIVEPEER_NODE, Rules
from tests.doubles.signer.signer import RemoteSigner, SignerSettings
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.paid.chain import PaidChain
from tests.e2e.paid.live_runner.models import LIVE, entries, path_of
from tests.e2e.paid.live_runner.payer import Payer
from tests.ports import free_port
from tests.runners.local import LocalRunner, scripted
from tests.tickets.validation.sender import Signer

NONE: Mapping[str, Any] = MappingProxyType({})


def seller_settings(chain: PaidChain) -> dict[str, str]:
    """Return the settings of an orchd that sells sessions on this chain."""
    port = free_port()
    return {
        "public.listen": f"127.0.0.1:{port}",
        "public.url": f"https://127.0.0.1:{port}",
        "public.doors": "live-runner",
        "public.runner_listen": f"127.0.0.1:{free_port()}",
        "hooks.order": "tickets",
        **chain.settings,
    }


@dataclass(frozen=True)
class Seller:
    """An orchd on a chain, and the URL of its public listener."""

    daemon: Daemon
    chain: PaidChain
    url: str

    @property
    def payer(self) -> Payer:
        return Payer(self.chain.gateway, self.url)

    async def listens(self) -> None:
        """Wait until it lets payers in."""

        async def connects() -> bool:
            try:
                await self.payer.call("/discovery", method="GET", body="")
            except ConnectionError:
                return False
            return True

        await self.daemon.until("payers are let in", connects)

    async def ready(self) -> None:
        """Wait until all models are, and until it knows the payer's account."""

        async def all_ready() -> bool:
            models = (await self.daemon.status())["models"]
            return bool(models) and all(model["state"] == "ready" for model in models)

        async def is_known() -> bool:
            return (await self.payer.ask(path_of(LIVE))).status == 402

        await self.listens()
        await self.daemon.until("all models are ready", all_ready)
        await self.daemon.until("the payer is known", is_known)

    def signer(self, rules: Rules = LIVEPEER_NODE, account: Signer | None = None) -> RemoteSigner:
        """Return a signer that lists this orchd and pays it."""
        pays = account or self.chain.gateway

        async def funds() -> Funds:
            return await self.chain.funds(pays)

        return RemoteSigner(SignerSettings(rules, pays, receivers=(self.url,)), funds)


@dataclass(frozen=True)
class ScriptedSeller(Seller):
    """One whose models a scripted runner serves."""

    runner: LocalRunner


@asynccontextmanager
async def selling(
    make: Start, chain: PaidChain, *models: dict[str, Any], settings: Mapping[str, str] = NONE
) -> AsyncIterator[Seller]:
    """Run an orchd that sells these models.

    Args:
        settings: in addition to those that it needs.
    """
    chosen = seller_settings(chain) | dict(settings)
    daemon = make("orchd", settings=chosen)
    daemon.write(*models)
    async with daemon:
        yield Seller(daemon, chain, chosen["public.url"])


@asynccontextmanager
async def seller(make: Start, chain: PaidChain, **fields: Any) -> AsyncIterator[ScriptedSeller]:
    """Run an orchd that sells the models of `models.py`.

    Args:
        fields: of each entry of aiModels.json.
    """
    async with scripted() as runner, selling(make, chain, *entries(runner.url, **fields)) as made:
        ready = ScriptedSeller(made.daemon, chain, made.url, runner)
        await ready.ready()
        yield ready
