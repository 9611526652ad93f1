"""EDGE. A remote signer on a port of its own. Source: paid-live-runner.md 2 and 10."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from orchd.tickets.validation.signatures import keccak256
from tests.doubles.gateway.purse import Funds
from tests.doubles.shared.answers import marshal, method_not_allowed
from tests.doubles.shared.clock import Clock, RealClock
from tests.doubles.shared.faults import Faults
from tests.doubles.shared.go_http import application, json_text
from tests.doubles.shared.listener import Listener
from tests.doubles.signer.asked import Refused, read_asked
from tests.doubles.signer.paying import Limits, Payer
from tests.doubles.signer.rules import Rules
from tests.doubles.signer.state import go_time
from tests.tickets.validation.sender import Signer, checksummed

DISCOVERY_S = 5.0
"""For all receivers together."""


def wall_clock_ns() -> int:
    """Return Unix time."""
    return int(time.time() * 10**9)


@dataclass(frozen=True)
class SignerSettings:
    """A signer's flags.

    Attributes:
        rules: `GO_LIVEPEER` or `LIVEPEER_NODE`.
        account: who pays.
        receivers: base URLs whose runners it lists, if its program does so at all.
    """

    rules: Rules
    account: Signer
    limits: Limits = field(default_factory=Limits)
    receivers: tuple[str, ...] = ()
    listen: str = "127.0.0.1:0"


@dataclass
class RemoteSigner:
    """`async with RemoteSigner(settings, funds) as signer` serves at `signer.url`.

    Attributes:
        funds: what it sees on the chain; asked before each payment.
        clock: of its faults.
        now_ns: Unix time.
        new_id: makes so many random bytes.
        faults: of its listener.
        trouble: answers every request for a payment instead of it: its own trouble, or a rule of its operator.
        paid: what it has signed, in order: the members of the answers.
    """

    settings: SignerSettings
    funds: Callable[[], Awaitable[Funds]]
    clock: Clock = field(default_factory=RealClock)
    now_ns: Callable[[], int] = wall_clock_ns
    new_id: Callable[[int], bytes] = secrets.token_bytes
    faults: Faults = field(default_factory=Faults)
    trouble: Refused | None = None
    paid: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = Listener(self.settings.listen)

    @property
    def url(self) -> str:
        return f"http://{self._listener.address}"

    async def __aenter__(self) -> Self:
        routes = [
            web.route("*", "/sign-orchestrator-info", self._address),
            web.route("*", "/generate-live-payment", self._pay),
        ]
        if self.settings.rules.discovers:
            routes.append(web.get("/discover-orchestrators", self._discover))
        await self._listener.open(application(routes, self.faults.middleware(self.clock)), None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.close()

    async def _address(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return method_not_allowed("POST")
        address = checksummed(self.settings.account.address)
        text = address.encode()
        signed = self.settings.account.sign(keccak256(text) if self.settings.rules.address_hashed else text)
        return _encoded(200, {"address": address, "signature": "0x" + signed.hex()})

    async def _pay(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return method_not_allowed("POST")
        settings, terms_from = self.settings, ""
        try:
            if self.trouble is not None:
                raise self.trouble
            asked = read_asked(await request.read(), settings.rules)
            terms_from = asked.info.transcoder
            funds = await self.funds()
            payer = Payer(settings.rules, settings.account, settings.limits, funds, self.now_ns(), self.new_id)
            made = dict(payer.pay(asked))
        except Refused as refused:
            answer = _encoded(refused.status, {"error": {"message": refused.message}})
            if refused.status == 480:
                answer.headers["Livepeer-Orchestrator-Url"] = terms_from
            return answer
        self.paid.append(made)
        return _encoded(200, made)

    async def _discover(self, request: web.Request) -> web.StreamResponse:
        apps = request.query.getall("app", [])
        timeout = aiohttp.ClientTimeout(total=DISCOVERY_S)
        listed, seen = [], go_time(self.now_ns())
        async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=False)) as session:
            for url in self.settings.receivers:
                async with session.get(f"{url}/discovery") as answer:
                    found = await answer.json()
                for entry in found:
                    runners = [runner for runner in entry["runners"] if not apps or runner["app"] in apps]
                    if runners:
                        listed.append({"address": entry["address"], "score": 1, "runners": runners, "last_seen": seen})
        return _encoded(200, listed)


def _encoded(status: int, value: Any) -> web.Response:
    """As json.Encoder writes it: with a newline."""
    return json_text(marshal(value) + "\n", status)
