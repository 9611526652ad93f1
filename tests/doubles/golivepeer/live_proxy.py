"""EDGE. The node's reverse proxy before a runner: Go's ReverseProxy, with the path escaped once too often.

Streams both ways, follows an upgrade, has no time limit; a caller that leaves takes the runner's request with it.
Source: live-runner.md 4.3; live-runner-dynamic.json, live-runner-dynamic-more.json.
"""

from __future__ import annotations

import asyncio
import errno
import os
import posixpath
import zlib
from collections.abc import AsyncIterator, Mapping
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.doubles.shared.go_http import KEEP_SERVER, Dropped, text_error
from tests.doubles.shared.pump import Pump

_HOP_BY_HOP = (
    "Connection",
    "Proxy-Connection",
    "Keep-Alive",
    "Proxy-Authenticate",
    "Proxy-Authorization",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
)
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto")
_UNESCAPED = "$&+,/:;=@-._~"  # what Go leaves alone in a path


class RunnerProxy:
    async def start(self) -> None:
        self._client = aiohttp.ClientSession(
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=90),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent", "Content-Type"),
        )

    async def stop(self) -> None:
        await self._client.close()

    async def forward(
        self, request: web.Request, base_url: str, raw_path: str, added: Mapping[str, str]
    ) -> web.StreamResponse:
        """Answer `request` with what `base_url`/`raw_path` answers; `raw_path` is as the caller escaped it.

        Raises:
            Dropped: the answer broke off after its head; the caller's connection is gone.
        """
        headers = _towards_runner(request, added)
        # Go's client asks for gzip where the caller asked for nothing, and undoes it.
        undo_gzip = not {"Accept-Encoding", "Range"} & set(headers) and request.method != "HEAD"
        if undo_gzip:
            headers["Accept-Encoding"] = "gzip"
        target = URL(_target(base_url, raw_path, request.rel_url.raw_query_string), encoded=True)
        body = request.content.iter_any() if request.body_exists else None
        try:
            async with self._client.request(
                request.method, target, headers=headers, data=body, allow_redirects=False
            ) as answer:
                if answer.status == 101:
                    return await _tunnel(request, answer)
                return await _relay(request, answer, undo_gzip=undo_gzip)
        except aiohttp.ClientConnectorCertificateError:
            return text_error(502, "tls: failed to verify certificate: x509: certificate signed by unknown authority")
        except aiohttp.ClientConnectorError as error:
            return text_error(502, f"dial tcp {error.host}:{error.port}: connect: {_why(error.os_error)}")
        except aiohttp.ServerDisconnectedError:
            return text_error(502, "EOF")
        except (aiohttp.ClientError, OSError) as error:
            return text_error(502, str(error))


def _target(base_url: str, raw_path: str, raw_query: str) -> str:
    """`raw_path` counts as plain text: a `%20` arrives as `%2520`. The base's own query is lost."""
    base = urlsplit(base_url)
    path = posixpath.normpath("/" + f"{base.path}/{raw_path}".lstrip("/"))
    if raw_path.endswith("/") and path != "/":
        path += "/"
    escaped = quote(path, safe=_UNESCAPED)
    return f"{base.scheme}://{base.netloc}{escaped}" + (f"?{raw_query}" if raw_query else "")


def _without_hops(headers: Mapping[str, str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in [part.strip() for part in kept.get("Connection", "").split(",")]:
        kept.popall(name, None)
    for name in _HOP_BY_HOP:
        kept.popall(name, None)
    return kept


def _towards_runner(request: web.Request, added: Mapping[str, str]) -> CIMultiDict[str]:
    headers = _without_hops(request.headers)
    for name in ("Host", *_FORWARDED):
        headers.popall(name, None)
    upgrade = request.headers.get("Upgrade")
    if upgrade and "upgrade" in request.headers.get("Connection", "").lower():
        headers["Connection"], headers["Upgrade"] = "Upgrade", upgrade
    headers.update(added)
    return headers


async def _relay(request: web.Request, answer: aiohttp.ClientResponse, *, undo_gzip: bool) -> web.StreamResponse:
    headers = _without_hops(answer.headers)
    pieces: AsyncIterator[bytes] = answer.content.iter_any()
    if undo_gzip and headers.get("Content-Encoding", "").lower() == "gzip":
        headers.popall("Content-Encoding")
        headers.popall("Content-Length", None)
        pieces = _gunzipped(pieces)
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=headers)
    response[KEEP_SERVER] = "Server" in headers
    await response.prepare(request)
    try:
        async for piece in pieces:
            await response.write(piece)
    except (aiohttp.ClientPayloadError, zlib.error) as error:
        raise Dropped from error
    return response


async def _gunzipped(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    async for piece in pieces:
        if data := unpacker.decompress(piece):
            yield data
    if data := unpacker.flush():
        yield data


async def _tunnel(request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
    """Pass bytes both ways until either side ends; then both connections are closed."""
    caller, runner = request.transport, answer.connection
    if caller is None or runner is None or runner.transport is None or runner.protocol is None:
        raise Dropped
    lines = [f"HTTP/1.1 101 {answer.reason}", *(f"{name}: {value}" for name, value in answer.headers.items()), "", ""]
    caller.write("\r\n".join(lines).encode("utf-8", "surrogateescape"))
    ended = asyncio.Event()
    runner.protocol.set_parser(Pump(caller.write, ended), Pump(caller.write, ended))
    request.protocol.set_parser(Pump(runner.transport.write, ended))  # type: ignore[arg-type]
    try:
        await ended.wait()
    finally:
        answer.close()
    raise Dropped


def _why(error: OSError) -> str:
    if error.errno == errno.ECONNREFUSED:
        return "connection refused"
    return os.strerror(error.errno).lower() if error.errno and error.errno > 0 else str(error)
