"""EDGE. Receiver and signer of one recorded case, behind one port: each request gets the answer that it got then.

What was put in comes as recorded; else the status is the recorded one, the body a plausible one, and payments come from
a signer's double.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import web

from tests.doubles.sdk_client.client import Runner
from tests.doubles.sdk_client.recordings import Case, Exchanged
from tests.doubles.shared.cut import cut
from tests.doubles.shared.go_http import Dropped, application
from tests.doubles.shared.listener import Listener
from tests.doubles.signer.kit import PRICE, challenge

SECOND = "b"
"""Ends the name of the second candidate."""


@dataclass
class Came:
    """A request that came, and how it was answered."""

    t: float
    kind: str
    second: bool
    status: int | None = None


@dataclass
class Front:
    """`async with Front(case, signer_url) as front` serves at `front.url`.

    Attributes:
        came: requests that the recording has too, in order.
        unexpected: those that it has not.
    """

    case: Case
    signer_url: str
    came: list[Came] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = Listener("127.0.0.1:0")
        self._seen: Counter[str] = Counter()
        self._manifests = 0
        self._recorded: dict[tuple[str, int], Exchanged] = {}
        counted: Counter[str] = Counter()
        for each in self.case.exchanges:
            counted[each.kind] += 1
            self._recorded[each.kind, counted[each.kind]] = each

    @property
    def url(self) -> str:
        return f"http://{self._listener.address}"

    def runners(self) -> list[Runner]:
        """Return the candidates of this case."""
        single = self.case.step.startswith("single-shot")
        count = 1 if single or self.case.step.startswith("only candidate") else 2
        price = {"price": PRICE, "currency": "wei", "unit": "seconds"}
        tail = "app" if single else "session"
        return [Runner(f"{self.url}/apps/x{SECOND * at}/{tail}", "a/b", price) for at in range(count)]

    async def __aenter__(self) -> Self:
        await self._listener.open(application([web.route("*", "/{rest:.*}", self._serve)]), None)
        self._began = asyncio.get_running_loop().time()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._listener.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        kind = _kind(request, body)
        if kind is None:
            return await self._by_signer(request, body)
        self._seen[kind] += 1
        recorded = self._recorded.get((kind, self._seen[kind]))
        if recorded is None:
            self.unexpected.append(f"{kind} {self._seen[kind]}: {request.path}")
            return web.Response(status=500)
        came = Came(asyncio.get_running_loop().time() - self._began, kind, f"/x{SECOND}/" in request.path)
        self.came.append(came)
        answer = await self._answer(request, body, recorded)
        came.status = answer.status
        return answer

    async def _answer(self, request: web.Request, body: bytes, recorded: Exchanged) -> web.StreamResponse:
        put_in = recorded.put_in or {}
        if put_in.get("drop"):
            raise Dropped
        await asyncio.sleep(put_in.get("delay", 0))
        if "body" in put_in or (put_in.get("status") and not put_in.keys() & {"fresh", "same"}):
            return web.Response(
                status=put_in["status"], body=put_in.get("body", "").encode(), headers=put_in.get("headers")
            )
        if recorded.status == 307:
            return web.Response(status=307, headers={"Location": request.path + "/"})
        if recorded.kind.startswith("signer"):
            return await self._by_signer(request, body)
        if recorded.kind == "paid" and self.case.step.startswith("single-shot"):
            return await self._job(request, recorded)
        if recorded.kind in ("unpaid", "refresh") or recorded.status == 402:
            return self._challenge(request, recorded, same=bool(put_in.get("same")) or recorded.kind == "refresh")
        if recorded.kind == "paid":
            base = f"{self.url}{request.path}/{self._manifests}"
            found = {"session_id": str(self._manifests), "app_url": f"{base}/app", "control_url": base}
            return web.json_response(found, status=recorded.status or 200)
        return web.Response(status=recorded.status or 200)

    def _challenge(self, request: web.Request, recorded: Exchanged, *, same: bool) -> web.Response:
        if recorded.kind == "unpaid" or not same:
            self._manifests += 1
        manifest, status = str(self._manifests), 200 if recorded.kind == "refresh" else 402
        base = request.path.partition("/app")[0] if request.path.endswith("/payment") else request.path
        found = {
            "payment_params": challenge(manifest=manifest),
            "orchestrator": self.url,
            "manifest_id": manifest,
            "payment_url": f"{self.url}{base}/{manifest}/payment",
        }
        return web.json_response(found, status=status)

    async def _job(self, request: web.Request, recorded: Exchanged) -> web.StreamResponse:
        """Do a single-shot job: `sleepN` answers after N s, `sseN` sends an event a second; both may be cut."""
        ends_s = float(self.case.saw["after"]) // 1
        if "stream=True" not in self.case.step:
            await asyncio.sleep(ends_s if recorded.status else 8)
            if recorded.status != 200:
                return web.Response(status=recorded.status or 200, text="context canceled\n")
            return web.json_response({"ok": True, "len": 8})
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for second in range(int(ends_s)):
            await stream.write(b"data: %d\n\n" % second)
            await asyncio.sleep(1)
        if "stream_raised" not in self.case.saw:
            await stream.write(b"data: [DONE]\n\n")
        elif request.transport is not None:
            cut(request.transport)
        return stream

    async def _by_signer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        async with (
            aiohttp.ClientSession() as session,
            session.request(request.method, self.signer_url + request.path, data=body) as answer,
        ):
            return web.Response(
                status=answer.status, body=await answer.read(), headers={"Content-Type": "application/json"}
            )


def _kind(request: web.Request, body: bytes) -> str | None:
    """Return what the recording calls such a request; None = it leaves it out."""
    last = request.path.rpartition("/")[2]
    if last == "generate-live-payment":
        return "signer-state" if "state" in json.loads(body) else "signer-first"
    kinds: dict[str, str | None] = {"payment": "topup", "refresh-payment": "refresh", "stop": "stop"}
    kinds |= {"sign-orchestrator-info": None, "discovery": None}
    return kinds.get(last, "paid" if "Livepeer-Payment" in request.headers else "unpaid")
