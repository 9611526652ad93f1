"""EDGE. The client's requests: JSON, each on a connection of its own, certificates not checked."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import aiohttp

TIMEOUT_S = 5.0
"""For a whole request; aiohttp rounds the end up to a whole second of the loop's clock."""
CONNECT_S = 10.0
AGENT = "livepeer-python-gateway/0.1"


class SdkError(Exception):
    """The client gives up."""


class HttpError(SdkError):
    """An answer of 400 or above."""

    def __init__(self, status: int, url: str, body: str) -> None:
        super().__init__(f"HTTP {status} from endpoint (url={url}); body={_message(body)!r}")
        self.status, self.body = status, body


class RefreshRequired(SdkError):
    """An answer of 480, whoever gave it."""


class SkipCycle(SdkError):
    """An answer of 482, whoever gave it."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer below 400."""

    content: bytes
    content_type: str

    def object(self) -> dict[str, Any]:
        """Return the JSON object in it; raises SdkError where there is none."""
        found = _decoded(self.content)
        if not isinstance(found, dict):
            raise SdkError("the answer is not a JSON object")
        return found


async def request(
    method: str, url: str, payload: Any = None, headers: dict[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> Reply:
    """Send one request and return its answer.

    Raises:
        HttpError, RefreshRequired, SkipCycle: by its status.
        SdkError: none came in time, or at all.
    """
    async with _session(aiohttp.ClientTimeout(total=timeout_s)) as session:
        try:
            async with session.request(method, url, **_sent(payload, headers)) as answer:
                content = await answer.read()
                _check(answer.status, url, content)
                return Reply(content, answer.content_type)
        except (TimeoutError, aiohttp.ClientError) as error:
            raise SdkError(f"failed to reach endpoint: {error} (url={url})") from error


async def get_json(url: str, headers: dict[str, str] | None = None) -> Any:
    """Return the JSON value at a URL; raises as `request`."""
    return _decoded((await request("GET", url, headers=headers)).content)


class Stream:
    """An answer whose body is read as it comes; no limit in all, 10 s to connect."""

    def __init__(self, session: aiohttp.ClientSession, answer: aiohttp.ClientResponse) -> None:
        self._session, self._answer = session, answer
        self.status = answer.status

    @classmethod
    async def open(cls, method: str, url: str, payload: Any, headers: dict[str, str]) -> Stream:
        """Send the request and return once the head of the answer is there; raises as `request`."""
        session = _session(aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S))
        try:
            answer = await session.request(method, url, **_sent(payload, headers))
            if answer.status >= 400:
                _check(answer.status, url, await answer.read())
        except (TimeoutError, aiohttp.ClientError) as error:
            await session.close()
            raise SdkError(f"failed to reach endpoint: {error} (url={url})") from error
        except SdkError:
            await session.close()
            raise
        return cls(session, answer)

    async def line(self) -> bytes:
        """Return the next line with its end; none at the end of the body.

        Raises:
            SdkError: it broke off.
        """
        try:
            return await self._answer.content.readline()
        except aiohttp.ClientError as error:
            raise SdkError(f"the stream has broken off: {error}") from error

    async def close(self) -> None:
        self._answer.close()
        await self._session.close()


def _session(timeout: aiohttp.ClientTimeout) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=False))


def _sent(payload: Any, headers: dict[str, str] | None) -> dict[str, Any]:
    said = {"Accept": "application/json", "User-Agent": AGENT}
    body = None
    if payload is not None:
        said["Content-Type"] = "application/json"
        body = json.dumps(payload).encode()
    return {"data": body, "headers": {**said, **(headers or {})}}


def _check(status: int, url: str, content: bytes) -> None:
    if status == 480:
        raise RefreshRequired(f"HTTP 480 (refresh session required) (url={url})")
    if status == 482:
        raise SkipCycle(f"HTTP 482 (skip payment cycle) (url={url})")
    if status >= 400:
        raise HttpError(status, url, content.decode(errors="replace"))


def _decoded(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError as error:
        raise SdkError("the answer is not JSON") from error


def _message(body: str) -> str:
    try:
        return str(json.loads(body)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return body
