"""One question to one runner, over HTTP or as a TCP connect."""

from __future__ import annotations

import asyncio
import os

import aiohttp

from orchd.domain.ids import Address
from orchd.domain.model import HealthKind, HealthSpec, StreamSpec
from orchd.domain.ports import ProbeResult, ProbeWord
from orchd.health.reading import BODY_BYTES, classify, one_line

STOP_ROUTE = "/stream/stop"


class HttpProber:
    """`ports.Prober`. Make it inside a running loop.

    Each probe has a connection and a name look-up of its own: an old connection may go on answering from a runner
    that takes no new ones, and a recreated container has another address.
    """

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # Ours bound the whole.
            headers={"User-Agent": "orchd", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        await self._session.close()

    async def probe(self, address: Address, health: HealthSpec, *, early: bool) -> ProbeResult:
        """Ask once; no redirect is followed and no token sent."""
        now = asyncio.get_running_loop().time
        began_at = now()
        try:
            async with asyncio.timeout(health.timeout_s):
                if health.kind is HealthKind.TCP:
                    word, evidence = await _connect(address)
                else:
                    code, body = await self._ask("GET", address.url + health.path)
                    word, evidence = classify(code, body, health, early=early)
        except TimeoutError:
            word, evidence = ProbeWord.TIMEOUT, f"no answer within {health.timeout_s:g} s"
        except aiohttp.ClientResponseError as exc:
            word, evidence = ProbeWord.FAILED, one_line(f"not HTTP: {exc.message}")
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            word, evidence = ProbeWord.UNREACHABLE, _why(exc)
        return ProbeResult(word, evidence, now() - began_at)

    async def close_streams(self, address: Address, stream: StreamSpec, timeout_s: float) -> str:
        """POST to the stop route; where the prefix is not known, to both spellings of it until one is not 404."""
        if stream.route_prefix is None:
            return "no stream routes"
        prefixes = ("", "/api") if stream.route_prefix == "auto" else (stream.route_prefix,)
        answer = ""
        try:
            async with asyncio.timeout(timeout_s):
                for prefix in prefixes:
                    code, _ = await self._ask("POST", address.url + prefix + STOP_ROUTE)
                    answer = f"POST {prefix}{STOP_ROUTE}: {code}"
                    if code != 404:
                        break
        except TimeoutError:
            return f"POST {STOP_ROUTE}: no answer within {timeout_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return f"POST {STOP_ROUTE}: {_why(exc)}"
        return answer

    async def _ask(self, method: str, url: str) -> tuple[int, bytes]:
        """Return the code, and the body as far as it counts."""
        async with self._session.request(method, url, allow_redirects=False) as response:
            body = b""
            while piece := await response.content.read(BODY_BYTES - len(body)):
                body += piece
            return response.status, body


async def _connect(address: Address) -> tuple[ProbeWord, str]:
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.close()
    return ProbeWord.READY, f"connected to port {address.port}"


def _why(exc: Exception) -> str:
    """Return a transport error in a few words, without the library's own."""
    if isinstance(exc, aiohttp.ClientConnectorError):
        exc = exc.os_error
    if isinstance(exc, aiohttp.ServerDisconnectedError):
        return "closed without an answer"
    if isinstance(exc, OSError) and exc.errno is not None and exc.errno > 0:
        return os.strerror(exc.errno)
    return one_line(str(exc)) or type(exc).__name__
