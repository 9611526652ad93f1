"""Clients who want work for nothing, or slots that they don't use."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from urllib.parse import urlsplit

from tests.doubles.shared.caller import unverified
from tests.e2e.paid.live_runner.cases import challenged, whole
from tests.e2e.paid.live_runner.inside import Shop
from tests.e2e.paid.live_runner.models import FIXED, path_of
from tests.e2e.paid.live_runner.payer import Payer, Paying


class Wire:
    """A connection on which a client writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, url: str) -> Wire:
        at = urlsplit(url)
        return cls(*await asyncio.open_connection(at.hostname, at.port, ssl=unverified(), limit=1 << 24))

    def write(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: orchd", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)

    async def answer(self) -> tuple[int, bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
        return int(head.split(" ")[1]), await self.reader.readexactly(length)

    def close(self) -> None:
        self.writer.close()


def paid_headers(payer: Payer, paying: Paying, **more: str) -> dict[str, str]:
    """Return the headers of a paid request."""
    return {"Livepeer-Payer-Address": payer.address, **paying.headers, **more}


@whole()
async def test_one_fixed_price_pays_for_one_session_however_slow_the_body_of_the_second_is(shop: Shop) -> None:
    payer, path = shop.payer(), path_of(FIXED)
    offered = await payer.offer(path)
    count = offered.tickets_for(1)
    again = challenged(await payer.send(path, payer.pay(offered, range(1, count))))
    slow = await Wire.open(shop.url)
    slow.write("POST", path, paid_headers(payer, payer.pay(again, [1]), **{"Content-Length": "2"}), b"{")
    await asyncio.sleep(1)  # Its payment is looked at, and is good.
    first = await payer.send(path, payer.pay(again, [2]))
    assert first.status == 200
    assert (await payer.call(f"{path}/{offered.manifest}/stop", body="")).status == 200
    await shop.until("it is over", lambda: not shop.active(FIXED))
    slow.writer.write(b"}")
    status, body = await slow.answer()
    slow.close()
    assert status == 402
    assert json.loads(body)["manifest_id"] != offered.manifest
    assert shop.tickets() == count
