"""One question to one runner, over HTTP or as a TCP connect."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Collection
from types import SimpleNamespace

import aiohttp

from orchd.domain.ids import Address
from orchd.domain.model import HealthKind, HealthSpec, StreamSpec
from orchd.domain.ports import ProbeResult, ProbeWord
from orchd.domain.redact import scrub
from orchd.health.ask import SCHEME, BrokenOff, NotUnderstood, ProbeAnswer, Question, ask, request_for
from orchd.health.explain import explain
from orchd.health.reading import BODY_BYTES, classify
from orchd.http_client import cause_of, connector, is_ours, read_at_most, why
from orchd.lag import LoopLag
from orchd.names import Names, has_way

STOP_ROUTE = "/stream/stop"

VOID_SHARE = 0.1
VOID_S = 0.1
"""A probe is void where the loop stood still for this share of its timeout, and at least for so many seconds."""


_EXPLAINED = (ProbeWord.FAILED, ProbeWord.UNKNOWN)
"""Any other word says itself what is the matter."""


class HttpProber:
    """`ports.Prober`. Make it inside a running loop.

    Each probe has a connection of its own: an old one may go on answering from a runner that takes no new ones.
    """

    def __init__(self, names: Names | None = None, lag: LoopLag | None = None) -> None:
        self._names = names or Names()
        self._lag = lag or LoopLag()
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_create_end.append(_note_connected)
        self._session = aiohttp.ClientSession(
            connector=connector(self._names),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),  # Ours bound the whole.
            headers={"User-Agent": "orchd", "Accept-Encoding": "identity"},
            trace_configs=[tracing],
        )

    async def close(self) -> None:
        await self._session.close()

    async def probe(
        self, address: Address, health: HealthSpec, *, early: bool, secrets: Collection[str] = ()
    ) -> ProbeResult:
        """Ask once; no redirect is followed and no token sent."""
        now = asyncio.get_running_loop().time
        began_at, stalled_s = now(), self._lag.stalled_s()
        word, evidence = await self._word(address, health, early=early, secrets=secrets)
        stalled_s = self._lag.stalled_s() - stalled_s
        if stalled_s >= max(VOID_S, VOID_SHARE * health.timeout_s):
            word, evidence = ProbeWord.VOID, f"orchd itself stood still for {stalled_s:.1f} s meanwhile"
        return ProbeResult(word, evidence, now() - began_at)

    async def _word(
        self, address: Address, health: HealthSpec, *, early: bool, secrets: Collection[str]
    ) -> tuple[ProbeWord, str]:
        tcp = health.kind is HealthKind.TCP
        asked = f"TCP {address.host}:{address.port}" if tcp else f"GET {address.url}{health.path}"
        progress = SimpleNamespace(connected=False)
        try:
            async with asyncio.timeout(health.timeout_s):
                if tcp:
                    transport, _ = await self._names.connect(asyncio.Protocol, address.host, address.port)
                    transport.close()
                    return ProbeWord.READY, f"connected to port {address.port}"
                return await self._ask_health(address, health, asked, progress, early=early, secrets=secrets)
        except TimeoutError:
            if self._names.awaits(address.host):
                said = f"the name {address.host} can't be resolved: no answer from its name server"
                return ProbeWord.UNREACHABLE, f"{asked}: {said} within {health.timeout_s:g} s"
            what = "no answer" if progress.connected else "no connection"
            return ProbeWord.TIMEOUT, f"{asked}: {what} within {health.timeout_s:g} s (health.timeout_s)"
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            word = ProbeWord.FAILED if isinstance(exc, aiohttp.ClientResponseError) else ProbeWord.UNREACHABLE
            if await self._is_ours(exc, address):
                word = ProbeWord.VOID
            said = f"{asked}: {why(exc, quote=True)}"
            if isinstance(exc, aiohttp.ServerDisconnectedError) and address.scheme == "http":
                said += "; if it speaks TLS there, its url must begin with https://"
            return word, said

    async def _ask_health(
        self,
        address: Address,
        health: HealthSpec,
        asked: str,
        progress: SimpleNamespace,
        *,
        early: bool,
        secrets: Collection[str],
    ) -> tuple[ProbeWord, str]:
        try:
            if address.scheme != SCHEME:
                raise NotUnderstood
            status, body, location = await self._ask(address, health.path, progress)
        except NotUnderstood:
            status, body, location = await self._ask_by_library(address, health.path, progress)
        word, evidence = classify(status, body, health, early=early)
        shown = scrub(body.decode(errors="surrogateescape"), secrets).encode(errors="surrogateescape")
        if shown != body:
            _, evidence = classify(status, shown, health, early=early)
        if word in _EXPLAINED:
            evidence = explain(status, shown, scrub(location, secrets), health, asked) or evidence
        return word, evidence

    async def _ask(self, address: Address, path: str, progress: SimpleNamespace) -> ProbeAnswer:
        question = Question(request_for(address, path), BODY_BYTES)
        try:
            return await ask(self._names, address, question)
        except BrokenOff as exc:
            raise (aiohttp.ClientPayloadError if exc.began else aiohttp.ServerDisconnectedError)() from exc
        finally:
            progress.connected = question.connected

    async def _ask_by_library(self, address: Address, path: str, progress: SimpleNamespace) -> ProbeAnswer:
        async with self._session.get(address.url + path, allow_redirects=False, trace_request_ctx=progress) as response:
            body = await read_at_most(response, BODY_BYTES)
            return ProbeAnswer(response.status, body, response.headers.get("Location", ""))

    async def _is_ours(self, exc: Exception, address: Address) -> bool:
        """Return whether it failed for our own want of descriptors, memory or ports."""
        if is_ours(exc):
            return True
        cause = cause_of(exc)
        if not isinstance(cause, OSError) or cause.errno != errno.EADDRNOTAVAIL:
            return False
        return any(has_way(each, address.port) for each in await self._names.addresses(address.host))

    async def close_streams(self, address: Address, stream: StreamSpec, timeout_s: float) -> str:
        """POST to the stop route; where the prefix is not known, to both spellings of it until one is not 404."""
        if stream.route_prefix is None:
            return "no stream routes"
        prefixes = ("", "/api") if stream.route_prefix == "auto" else (stream.route_prefix,)
        answer = ""
        try:
            async with self._lag.timeout(timeout_s):
                for prefix in prefixes:
                    code = await self._post(address.url + prefix + STOP_ROUTE)
                    answer = f"POST {prefix}{STOP_ROUTE}: {code}"
                    if code != 404:
                        break
        except TimeoutError:
            return f"POST {STOP_ROUTE}: no answer within {timeout_s:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return f"POST {STOP_ROUTE}: {why(exc)}"
        return answer

    async def _post(self, url: str) -> int:
        async with self._session.post(url, allow_redirects=False) as response:
            await read_at_most(response, BODY_BYTES)
            return response.status


async def _note_connected(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionCreateEndParams
) -> None:
    if context.trace_request_ctx is not None:
        context.trace_request_ctx.connected = True
