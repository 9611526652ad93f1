"""The gateway: its listener, its search for orchestrators, and the way of a job through them.

Source: byoc.md 7; gateway-job.json. Every deadline runs on the clock, so with one that stands still nobody is late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from aiohttp import web

from orchd.tasks import spawn
from tests.doubles.gateway.credentials import ANSWER_S, SEARCH_S, BadJob, Identity, Job, read_job
from tests.doubles.gateway.purse import CannotPay, Funds, Purse
from tests.doubles.gateway.tokens import Token, read_token
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.go_client import LINE_LIMIT, Answer, BodyBroken, GoClient, WorkerFailed
from tests.doubles.shared.go_http import Dropped, application, decoded_path, sniffed, text_error
from tests.doubles.shared.listener import Listener

_PATH = "/process/request/"
_HEADERS_S = 5
"""The headers of an answer may take this many seconds longer than the job says."""


@dataclass(frozen=True)
class GatewaySettings:
    """The gateway's flags.

    Attributes:
        orchestrators: URLs that are asked for tokens.
        purse: account and limits; None = off-chain.
        crashes: as the stock program, it crashes where there are no balances and over a token without terms. The
            recorded one had that taken out.
    """

    orchestrators: tuple[str, ...]
    purse: Purse | None = None
    listen: str = "127.0.0.1:0"
    crashes: bool = True


@dataclass
class Gateway:
    """`async with Gateway(settings, clock, funds) as gateway` serves at `gateway.url`.

    Attributes:
        funds: what it sees on the chain; asked before each payment.
        log: why an orchestrator did not get or do a job.
        paid: `Livepeer-Payment` of each job that was sent, in order; None = without.
    """

    settings: GatewaySettings
    clock: Clock
    funds: Callable[[], Awaitable[Funds]] | None = None
    log: list[str] = field(default_factory=list)
    paid: list[str | None] = field(default_factory=list)

    def __post_init__(self) -> None:
        purse = self.settings.purse
        self._identity = Identity(purse.signer if purse else None)
        self._listener = Listener(self.settings.listen)
        self._client = GoClient(self.clock)

    @property
    def url(self) -> str:
        return f"http://{self._listener.address}"

    async def __aenter__(self) -> Self:
        await self._listener.open(application([web.route("*", _PATH + "{rest:.*}", self._serve)]), None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.close()
        self._client.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return text_error(405, "Method not allowed")
        try:
            job = read_job(request.headers.get("Livepeer", ""))
        except BadJob as error:
            return text_error(400, str(error))
        body = await request.read()
        tokens = await self._search(job.capability)
        if not tokens:
            return text_error(400, f"No orchestrators found for capability {job.capability}")
        for token in tokens:
            try:
                answer = await self._send(request, job, body, token)
            except (CannotPay, WorkerFailed) as error:
                self.log.append(str(error))
                continue
            try:
                if answer.status < 500:
                    return await self._pass_on(request, answer, token)
                self.log.append(f"{answer.status}: {(await answer.read()).decode('utf-8', 'replace').strip()}")
            except BodyBroken as error:
                self.log.append(str(error))
            finally:
                answer.close()
        return web.Response()

    async def _search(self, capability: str) -> list[Token]:
        """Return the tokens of those with a free slot, in the order in which they came."""
        found: list[Token] = []

        async def ask(url: str) -> None:
            try:
                answer = await self._client.get(
                    f"{url}/process/token", self._identity.token_headers(capability), ANSWER_S
                )
                text = (await answer.read()).decode()
                if answer.status != 200:
                    raise ValueError(f"{answer.status}: {text.strip()}")
                token = read_token(text)
            except (WorkerFailed, BodyBroken, ValueError) as error:
                self.log.append(str(error))
                return
            if token.capacity > 0:
                found.append(token)

        asked = [spawn(ask(url), name=f"ask {url}") for url in self.settings.orchestrators]
        try:
            async with self.clock.timeout(SEARCH_S):
                await asyncio.gather(*asked)
        except TimeoutError:
            self.log.append("not all orchestrators have answered in time")
        return found

    async def _send(self, request: web.Request, job: Job, body: bytes, token: Token) -> Answer:
        """Return the orchestrator's answer once its head is there.

        Raises:
            CannotPay, WorkerFailed: the next one is tried.
        """
        if token.params is None and self.settings.crashes:
            raise Dropped
        headers = {
            "Content-Type": request.headers.get("Content-Type", ""),
            "Livepeer": self._identity.job_header(job),
        }
        payment = await self._payment(job, token)
        if payment is not None:
            headers["Livepeer-Payment"] = payment
        self.paid.append(payment)
        url = token.service_addr + decoded_path(request)
        return await self._client.post(url, headers, body, job.timeout_s + _HEADERS_S)

    async def _payment(self, job: Job, token: Token) -> str | None:
        purse = self.settings.purse
        if purse is None or self.funds is None or not token.price.price_per_unit:
            return None
        return purse.payment(token, job.timeout_s, await self.funds())

    async def _pass_on(self, request: web.Request, answer: Answer, token: Token) -> web.StreamResponse:
        """Pass on what is not tried elsewhere: success, or the orchestrator's refusal."""
        if answer.status >= 400:
            return text_error(answer.status, (await answer.read()).decode("utf-8", "surrogateescape"))
        headers = {
            "Livepeer-Balance": answer.headers.get("Livepeer-Balance", ""),
            "X-Metadata": answer.headers.get("X-Metadata", ""),
            "X-Orchestrator-Url": token.service_addr,
        }
        if "text/event-stream" in answer.headers.get("Content-Type", ""):
            return await _stream(request, answer, headers)
        body = await answer.read()
        if self.settings.purse is None and self.settings.crashes:
            raise Dropped
        return sniffed(200, body, headers)


async def _stream(request: web.Request, answer: Answer, headers: dict[str, str]) -> web.StreamResponse:
    """Relay line by line, and hang up at the first one with `[DONE]`."""
    response = web.StreamResponse(
        headers={
            **headers,
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "Connection": "keep-alive",
        }
    )
    await response.prepare(request)
    async for line in answer.lines():
        if len(line) >= LINE_LIMIT:
            break
        await response.write(line + b"\n")
        if b"[DONE]" in line:
            break
    await response.write_eof()
    return response
