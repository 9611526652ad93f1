"""EDGE. Asks an operator's server about jobs, over connections that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import aiohttp

from orchd.domain.model import Secret
from orchd.http_client import Unanswered, connector, read_at_most, why
from orchd.names import Names

KEEPALIVE_S = 30.0
MOST_BYTES = 64 * 1024


class WebhookClient:
    """One server.

    Args:
        secret: sent as a bearer token; None = nothing is.
        timeout_s: seconds, for the whole of one call.
    """

    def __init__(self, url: str, secret: Secret | None, names: Names, timeout_s: float) -> None:
        self._url = url
        self._names = names
        self._timeout_s = timeout_s
        self._headers = {"User-Agent": "orchd"}
        if secret is not None:
            self._headers["Authorization"] = f"Bearer {secret.value}"
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        """Get ready; nothing is asked yet."""
        self._session = aiohttp.ClientSession(
            connector=connector(self._names, keepalive_s=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=self._headers,
        )

    async def ask(self, document: Mapping[str, str]) -> bytes:
        """Return the body of the answer.

        Raises:
            Unanswered: none came, or one with another status than 200.
        """
        assert self._session is not None
        try:
            async with (
                asyncio.timeout(self._timeout_s),
                self._session.post(self._url, json=document, allow_redirects=False) as response,
            ):
                body = await read_at_most(response, MOST_BYTES + 1)
        except TimeoutError as exc:
            raise Unanswered(f"no answer within {self._timeout_s:g} s") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise Unanswered(why(exc)) from None  # The library's own words may hold the URL.
        if response.status != 200:
            raise Unanswered(f"it answered {response.status}")
        if len(body) > MOST_BYTES:
            raise Unanswered(f"its answer is longer than {MOST_BYTES // 1024} KiB")
        return body

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
