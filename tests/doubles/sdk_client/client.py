"""Discovery, sessions and jobs, as the SDK has them. Source: paid-live-runner.md 3 and 11; paid-gl-sdk-reactions."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlsplit

from orchd.tasks import spawn
from tests.doubles.sdk_client.funding import Challenge, Funding, SignerAccess, origin, payer_address, read_challenge
from tests.doubles.sdk_client.http import HttpError, RefreshRequired, Reply, SdkError, Stream, get_json, request

TYPES = {"hour": "live", "seconds": "live", "720p": "lv2v", "720p-pixel-seconds": "lv2v", "fixed": "fixed"}
"""Of payment, by the unit of the price."""
MARGIN = Decimal("1.012")
"""So much dearer than listed a challenge may be."""
TURNS = 8
"""Most requests for one job, those to its signer alone among them."""
AT_ONCE = 5
"""Receivers that are asked for their runners together."""


class NoRunner(SdkError):
    """No candidate is left; `rejections` says why, one text each."""

    def __init__(self, rejections: list[str]) -> None:
        super().__init__(f"All runners failed ({len(rejections)} tried): {'; '.join(rejections)}")
        self.rejections = rejections


@dataclass(frozen=True, slots=True)
class Runner:
    """A runner as a directory lists it; `price_info` None = it has no price."""

    url: str
    app: str = ""
    price_info: dict[str, Any] | None = None

    def payment_members(self) -> dict[str, Any]:
        """Return what its price says to a signer."""
        if self.price_info is None:
            return {"type": "live", **({"app": self.app} if self.app else {})}
        price = float(Decimal(str(self.price_info["price"])) * MARGIN)
        unit = str(self.price_info["unit"]).lower()
        if unit not in TYPES:
            raise SdkError(f"Unsupported live runner payment unit {unit!r}")
        ceiling = {"price": price, "currency": str(self.price_info["currency"]).lower(), "unit": unit}
        return {"type": TYPES[unit], "app": self.app, "maxPrice": ceiling}


@dataclass
class Funded:
    """What is paid for in the background.

    Attributes:
        released: the receiver has said that it is gone.
    """

    released: bool = False
    task: asyncio.Task[None] | None = None

    def start(self, funding: Funding) -> None:
        async def run() -> None:
            self.released |= await funding.run()

        self.task = spawn(run(), name="fund a session")

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
            self.task = None


@dataclass
class Session(Funded):
    """A reserved session, paid for until it is closed."""

    session_id: str = ""
    app_url: str = ""
    control_url: str = ""
    runner_url: str = ""

    async def close(self) -> None:
        """Stop paying, and the session, if nobody has said that it is gone. Raises SdkError if the stop fails."""
        await self.stop()
        if not self.released:
            await request("POST", f"{self.control_url}/stop")
            self.released = True


@dataclass
class Streamed(Funded):
    """A job's answer as it comes, paid for until it is closed."""

    stream: Stream | None = None

    async def close(self) -> None:
        await self.stop()
        if self.stream is not None:
            await self.stream.close()


@dataclass
class Done:
    """A request that was served; `funding` None = nothing more is to be paid."""

    funding: Funding | None
    reply: Reply | None = None
    streamed: Streamed | None = None


@dataclass
class SdkClient:
    """One user of the SDK; `signer` None = it pays nothing."""

    signer: SignerAccess | None = None
    _payer: str = field(default="", init=False)

    async def discover(self, app: str, receivers: Sequence[str] = (), directory: str = "") -> list[Runner]:
        """Return the runners of the first receiver that has any, or of a directory, or of the signer."""
        query = f"?app={quote(app, safe='/')}"
        if not receivers:
            url = directory or (origin(self.signer.url) + "/discover-orchestrators" if self.signer else "")
            headers = None if directory or self.signer is None else self.signer.headers
            return runners_in(await get_json(url + query, headers), app)
        failed: BaseException | None = None
        for at in range(0, len(receivers), AT_ONCE):
            urls = [f"{base.rstrip('/')}/discovery{query}" for base in receivers[at : at + AT_ONCE]]
            for found in await asyncio.gather(*(get_json(url) for url in urls), return_exceptions=True):
                if isinstance(found, BaseException):
                    failed = failed or found
                elif runners := runners_in(found, app):
                    return runners
        if failed is not None:
            raise failed
        return []

    async def reserve(self, candidates: Sequence[Runner]) -> Session:
        """Reserve a session of the first candidate that gives one.

        Raises:
            NoRunner: none does.
            SdkError: an answer of 200 is not what it should be; no other candidate is tried then.
        """
        rejections: list[str] = []
        for runner in candidates:
            try:
                done = await self.call(runner)
            except SdkError as error:
                rejections.append(f"{runner.url}: {error}")
                continue
            session = _session(done, runner)
            if done.funding is not None:
                session.start(done.funding)
            return session
        raise NoRunner(rejections)

    async def call(
        self, runner: Runner, payload: dict[str, Any] | None = None, timeout_s: float = 5.0, *, stream: bool = False
    ) -> Done:
        """Send a request, and pay for it if it is asked to. What is paid by time is paid for as long as it runs.

        Raises:
            HttpError, RefreshRequired, SkipCycle, SdkError.
        """
        challenge: Challenge | None = None
        for turn in range(TURNS):
            headers, funding = {"Accept": "*/*"}, None
            if self.signer is not None:
                headers["Livepeer-Payer-Address"] = await self._address(self.signer)
            try:
                if challenge is not None and self.signer is not None:
                    funding = Funding(self.signer, self._payer, challenge, runner.payment_members())
                    headers |= await funding.payment()
            except RefreshRequired:
                if turn + 1 == TURNS:
                    raise
                challenge = None
                continue
            try:
                return await self._send(runner, payload or {}, headers, funding, timeout_s if not stream else None)
            except HttpError as error:
                if error.status != 402:
                    raise
                if self.signer is None:
                    raise SdkError("Live runner paid call requires signer_url") from error
                challenge = read_challenge(error.body)
        raise SdkError("Live runner call exhausted payment challenge retries")

    async def _address(self, signer: SignerAccess) -> str:
        if not self._payer:
            self._payer = await payer_address(signer)
        return self._payer

    async def _send(
        self,
        runner: Runner,
        payload: dict[str, Any],
        headers: dict[str, str],
        funding: Funding | None,
        timeout_s: float | None,
    ) -> Done:
        """Send the request; `timeout_s` None = its answer is a stream."""
        if funding is not None and funding.common["type"] == "fixed":
            funding = None
        if timeout_s is None:
            streamed = Streamed(stream=await Stream.open("POST", runner.url, payload, headers))
            if funding is not None:
                streamed.start(funding)
            return Done(funding, streamed=streamed)
        meanwhile = Funded()
        if funding is not None:
            meanwhile.start(funding)
        try:
            reply = await request("POST", runner.url, payload, headers, timeout_s)
        finally:
            await meanwhile.stop()
        if reply.content_type.endswith("json"):
            reply.object()
        return Done(funding, reply)


def runners_in(found: Any, app: str) -> list[Runner]:
    """Return the runners of a discovery document that a client takes; raises SdkError if it is none."""
    if not isinstance(found, list):
        raise SdkError("Discovery response must be a JSON list")
    listed = (runner for entry in found for runner in entry.get("runners") or ())
    return [
        Runner(runner["url"], runner["app"], runner.get("price_info"))
        for runner in listed
        if runner.get("url") and runner.get("app") == app
    ]


def _session(done: Done, runner: Runner) -> Session:
    reply = done.reply
    assert reply is not None
    found = json.loads(reply.content) if reply.content_type.endswith("json") else {}
    names = ("session_id", "app_url", "control_url")
    for name in names:
        if not isinstance(found.get(name), str) or not found[name].strip():
            raise SdkError(f"runner session response missing {name}")
    parts = urlsplit(found["control_url"])
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise SdkError(f"Invalid orchestrator URL: {found['control_url']!r}")
    return Session(**{name: found[name].strip() for name in names}, runner_url=runner.url)
