"""EDGE. What all our HTTP clients share: how they connect, what their errors mean, and how much of a body is read."""

from __future__ import annotations

import asyncio
import socket
import ssl

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from orchd import reasons
from orchd.names import Names

_TLS_ANSWER = ("\\x15\\x03", "\x15\x03")
"""How an alert of TLS begins, as aiohttp shows it: the answer of a TLS server to plain HTTP."""

SPEAKS_TLS = "it speaks TLS on this port, and was asked without: only a url with https:// is asked by TLS"


class NamesResolver(AbstractResolver):
    """Has aiohttp look names up as everything else in orchd does."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for address in await self._names.addresses(host)
        ]

    async def close(self) -> None:
        """The names are not ours alone."""


def connector(names: Names, *, keepalive_s: float | None = None) -> aiohttp.TCPConnector:
    """Return a connector without a limit of its own; without `keepalive_s`, each request has a new connection."""
    resolver = NamesResolver(names)
    if keepalive_s is None:
        return aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False, resolver=resolver)
    return aiohttp.TCPConnector(keepalive_timeout=keepalive_s, limit=0, use_dns_cache=False, resolver=resolver)


class Unanswered(Exception):
    """There was no whole answer. The text says why, in one line, and holds no URL: that may be a secret."""


async def ask_once(
    method: str, url: str, names: Names, *, document: object = None, timeout_s: float, most: int
) -> tuple[int, bytes]:
    """Ask over a connection of its own, and return the status and at most `most` bytes of the answer.

    Args:
        document: sent as JSON; None = no body.
        timeout_s: seconds, for the whole of it.

    Raises:
        Unanswered: no answer, or one that is not HTTP.
    """
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector(names), cookie_jar=aiohttp.DummyCookieJar(), headers={"User-Agent": "orchd"}
            ) as session,
            asyncio.timeout(timeout_s),
            session.request(method, url, json=document, allow_redirects=False) as response,
        ):
            return response.status, await read_at_most(response, most)
    except TimeoutError as exc:
        raise Unanswered(f"no answer within {timeout_s:g} s") from exc
    except (aiohttp.ClientError, OSError, ValueError) as exc:
        # `from None`: the library's own words may hold the URL.
        raise Unanswered(why(exc)) from None


async def read_at_most(response: aiohttp.ClientResponse, most: int) -> bytes:
    """Return the beginning of a body, at most `most` bytes; the rest is not read."""
    body = bytearray()
    while len(body) < most and (piece := await response.content.read(most - len(body))):
        body += piece
    return bytes(body)


def cause_of(exc: BaseException) -> BaseException:
    """Return what lies under an error of aiohttp's, where it wraps one of the system's."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return exc.certificate_error
    if isinstance(exc, aiohttp.ClientConnectorError):
        return exc.os_error
    return exc


def is_ours(exc: BaseException) -> bool:
    """After `reasons.is_ours`."""
    return reasons.is_ours(cause_of(exc))


def speaks_otherwise(exc: BaseException) -> bool:
    """Return whether the port speaks TLS and was asked without, or the other way round."""
    exc = cause_of(exc)
    if isinstance(exc, aiohttp.ClientResponseError):
        return any(mark in exc.message for mark in _TLS_ANSWER)
    return isinstance(exc, ssl.SSLError) and reasons.why(exc) == reasons.NO_TLS


def why(exc: BaseException, *, quote: bool = False) -> str:
    """Return what is wrong in one line, without the library's own words and without a URL.

    Args:
        quote: show a bit of an answer that is no HTTP; it may hold what was sent to it.
    """
    exc = cause_of(exc)
    match exc:
        case aiohttp.ServerDisconnectedError():
            return "it closed the connection without an answer"
        case aiohttp.ClientPayloadError() | asyncio.IncompleteReadError():
            return "its answer broke off"
        case aiohttp.ClientResponseError():
            if any(mark in exc.message for mark in _TLS_ANSWER):
                return SPEAKS_TLS
            return (
                f"its answer is not HTTP ({reasons.one_line(exc.message, 80)})" if quote else "its answer is not HTTP"
            )
        case aiohttp.InvalidURL():
            return "its URL is not one that can be asked"
        case aiohttp.ClientError() if not isinstance(exc, OSError):
            return f"the connection failed ({type(exc).__name__})"
    return reasons.why(exc)
