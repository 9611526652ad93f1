"""What the recorded reactions do not show: discovery, what is free, what costs a fixed sum, headers, connections."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from aiohttp import web

from tests.chaos.jumping import run_jumping
from tests.doubles.sdk_client.client import Runner, SdkClient
from tests.doubles.sdk_client.funding import SignerAccess
from tests.doubles.sdk_client.http import SdkError
from tests.doubles.shared.go_http import application
from tests.doubles.shared.listener import Listener
from tests.doubles.signer.kit import MANIFEST, PRICE, challenge, signer_of

ALWAYS, ENCODED = ("Host", "Accept", "User-Agent"), ("Accept-Encoding", "Content-Length")
PAYER, PAID = "Livepeer-Payer-Address", ("Livepeer-Payment", "Livepeer-Segment")
"""Names of headers, and below their order, as in paid-node-sdk-session."""


@dataclass
class Receiver:
    """Lists one app, and asks to be paid if `unit` is set.

    Attributes:
        asked: its requests: path, headers, number of the connection.
    """

    app: str = ""
    unit: str = ""
    asked: list[tuple[str, dict[str, str], object]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listener = Listener("127.0.0.1:0")

    @property
    def url(self) -> str:
        return f"http://{self._listener.address}"

    @property
    def runner(self) -> Runner:
        price = {"price": PRICE, "currency": "wei", "unit": self.unit} if self.unit else None
        return Runner(f"{self.url}/apps/r/session", self.app, price)

    async def __aenter__(self) -> Self:
        await self._listener.open(application([web.route("*", "/{rest:.*}", self._serve)]), None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._listener.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.asked.append((request.path_qs, dict(request.headers), request.transport))
        base = f"{self.url}/apps/r/session/{MANIFEST}"
        if request.path == "/base/discovery":
            listed = [{"url": self.runner.url, "app": self.app, "price_info": self.runner.price_info}]
            return web.json_response([{"address": self.url, "runners": listed if self.app else []}])
        if self.unit and request.path.endswith("/session") and "Livepeer-Payment" not in request.headers:
            found: dict[str, Any] = {"payment_params": challenge(), "manifest_id": MANIFEST}
            return web.json_response({**found, "payment_url": f"{base}/payment"}, status=402)
        return web.json_response({"session_id": MANIFEST, "app_url": f"{base}/app", "control_url": base})

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


async def test_the_first_receiver_that_has_the_app_is_taken() -> None:
    async with AsyncExitStack() as stack:
        receivers = [await stack.enter_async_context(Receiver(app)) for app in ("", "c/d", "a/b", "a/b")]
        urls = [f"{receiver.url}/base/" for receiver in receivers]
        found = await SdkClient().discover("a/b", ["http://127.0.0.1:9", *urls])
        assert found == [receivers[2].runner]
        assert receivers[0].paths() == ["/base/discovery?app=a/b"]
        # Five at a time: the fifth URL is the last of the first five.
        with pytest.raises(SdkError):
            await SdkClient().discover("e/f", ["http://127.0.0.1:9", *urls])


async def test_what_is_free_is_reserved_without_a_signer() -> None:
    async with Receiver("a/b") as receiver:
        reserved = await SdkClient().reserve([receiver.runner])
        assert reserved.task is None
        await reserved.close()
        assert receiver.paths() == ["/apps/r/session", f"/apps/r/session/{MANIFEST}/stop"]


async def test_without_a_signer_nothing_is_paid() -> None:
    async with Receiver("a/b", "seconds") as receiver:
        with pytest.raises(SdkError, match="requires signer_url"):
            await SdkClient().reserve([receiver.runner])


async def test_a_fixed_price_is_paid_once() -> None:
    async with Receiver("a/b", "fixed") as receiver, signer_of() as signing:
        reserved = await SdkClient(SignerAccess(signing.signer.url)).reserve([receiver.runner])
        assert reserved.task is None
        assert len(signing.signer.paid) == 1
        await reserved.close()


def test_every_request_of_a_session_has_a_connection_and_headers_of_its_own() -> None:
    async def story() -> None:
        async with Receiver("a/b", "seconds") as receiver, signer_of() as signing:
            reserved = await SdkClient(SignerAccess(signing.signer.url)).reserve([receiver.runner])
            await asyncio.sleep(3.5)
            await reserved.close()
        assert receiver.paths() == [
            *("/apps/r/session", "/apps/r/session"),
            *(f"/apps/r/session/{MANIFEST}/payment", f"/apps/r/session/{MANIFEST}/stop"),
        ]
        assert len({id(connection) for _, _, connection in receiver.asked}) == 4
        assert [[*headers] for _, headers, _ in receiver.asked] == [
            [*ALWAYS, "Content-Type", PAYER, *ENCODED],
            [*ALWAYS, "Content-Type", PAYER, *PAID, *ENCODED],
            [*ALWAYS, *PAID, *ENCODED, "Content-Type"],
            [*ALWAYS, *ENCODED, "Content-Type"],
        ]
        assert {headers["User-Agent"] for _, headers, _ in receiver.asked} == {"livepeer-python-gateway/0.1"}

    run_jumping(story())
