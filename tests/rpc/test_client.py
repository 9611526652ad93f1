"""Requests over real HTTP: what comes back is bounded, and nothing of a URL is told."""

from __future__ import annotations

import gzip
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio
from aiohttp import web

from orchd.domain.model import Secret
from orchd.names import Names
from orchd.rpc.client import MOST_BYTES, HttpRpcClient, RpcReply
from orchd.rpc.ports import RpcFault
from tests.doubles.rpc.serving import KEY, Handler, serving
from tests.ports import free_port


@pytest_asyncio.fixture
async def client() -> AsyncIterator[HttpRpcClient]:
    client = HttpRpcClient(Names())
    yield client
    await client.close()


async def asked(client: HttpRpcClient, handler: Handler) -> RpcReply:
    async with serving(handler) as url:
        return await client.post(Secret(url), {"a": 1})


async def refusal(client: HttpRpcClient, handler: Handler) -> str:
    with pytest.raises(RpcFault) as raised:
        await asked(client, handler)
    assert KEY not in "".join(traceback.format_exception(raised.value))
    return str(raised.value)


async def test_the_document_goes_out_and_the_answer_comes_back(client: HttpRpcClient) -> None:
    async def echo(request: web.Request) -> web.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return web.Response(body=await request.read(), status=203, headers={"Retry-After": "7"})

    assert await asked(client, echo) == RpcReply(203, b'{"a": 1}', 7)


@pytest.mark.parametrize(
    ("header", "seconds"), [("0", 0), ("99999", 300), ("9" * 400, 0), ("-5", 0), ("Wed, 21 Oct 2026", 0), ("1.5", 0)]
)
async def test_a_wait_is_taken_in_seconds_and_not_for_ever(client: HttpRpcClient, header: str, seconds: int) -> None:
    async def busy(request: web.Request) -> web.Response:
        return web.Response(status=429, headers={"Retry-After": header})

    assert (await asked(client, busy)).retry_after_s == seconds


async def test_an_answer_as_long_as_may_be_is_whole_and_a_longer_one_is_refused(client: HttpRpcClient) -> None:
    async def long(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * MOST_BYTES)

    async def longer(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * (MOST_BYTES + 1))

    assert len((await asked(client, long)).body) == MOST_BYTES
    assert "longer than 1048576 bytes" in await refusal(client, longer)


async def test_an_answer_without_an_end_is_given_up_when_it_is_too_long(client: HttpRpcClient) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65536)

    assert "longer than" in await refusal(client, endless)


async def test_what_is_packed_is_not_unpacked(client: HttpRpcClient) -> None:
    packed = gzip.compress(b"x" * 100_000_000)

    async def bomb(request: web.Request) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    assert (await asked(client, bomb)).body == packed


async def test_a_redirect_is_not_followed(client: HttpRpcClient) -> None:
    async def away(request: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": f"/v2/{KEY}"})

    assert (await asked(client, away)).status == 307


async def test_nobody_there_is_said_without_the_url(client: HttpRpcClient) -> None:
    with pytest.raises(RpcFault) as raised:
        await client.post(Secret(f"http://127.0.0.1:{free_port()}/{KEY}"), {})
    assert str(raised.value) == "connection refused: nothing listens on this port there"
    assert KEY not in "".join(traceback.format_exception(raised.value))


async def test_the_connection_is_kept(client: HttpRpcClient) -> None:
    ports = set[object]()

    async def note(request: web.Request) -> web.Response:
        assert request.transport is not None
        ports.add(request.transport.get_extra_info("peername"))
        return web.Response()

    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(serving(note))
        for _ in range(3):
            await client.post(Secret(url), {})
    assert len(ports) == 1
