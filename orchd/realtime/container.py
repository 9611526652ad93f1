"""EDGE. Calls to the stream routes of containers. They are few and small, so their bodies are kept whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import Model, RunnerKind
from orchd.http_client import connector, why
from orchd.lag import LoopLag
from orchd.names import Names
from orchd.realtime.routes import Learnt, StreamCall, stream_routes

NOT_HERE = (404, 405)
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
MOST_ANSWER_BYTES = 16 * 1024 * 1024
_FRAMING = frozenset(
    {
        *(b"connection", b"content-length", b"date", b"keep-alive", b"proxy-authenticate", b"proxy-connection"),
        *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
    }
)


class ContainerSilent(Exception):
    """The container gave no answer; what the call has done there is not known."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer of a container.

    Attributes:
        headers: those that may pass on; framing and connection headers are left out.
    """

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


class ContainerStreams:
    """Knows which spelling each kind of container took. Make it inside a running loop.

    Args:
        timeout_s: seconds for one call, all tries included; time in which our loop stood still is not counted.
    """

    def __init__(self, timeout_s: float, names: Names | None = None, lag: LoopLag | None = None) -> None:
        self._lag = lag or LoopLag()
        self._timeout_s = timeout_s
        self._learnt: dict[tuple[ModelKey, str], Learnt] = {}
        self._session = aiohttp.ClientSession(
            connector=connector(names or Names()),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
            headers={"User-Agent": "orchd", "Accept-Encoding": "identity"},
            auto_decompress=False,
        )

    async def close(self) -> None:
        await self._session.close()

    async def call(
        self, model: Model, address: Address, call: StreamCall, *, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        """Ask the container; None = it has no route for this.

        Raises:
            ContainerSilent.
        """
        what = (model.key, model.generation)
        try:
            async with self._lag.timeout(self._timeout_s):
                return await self._call(what, model, address, call, headers, body)
        except TimeoutError as exc:
            raise ContainerSilent(f"gave no answer to {call} within {self._timeout_s:g} s") from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise ContainerSilent(f"can't be asked to {call}: {why(exc)}") from exc

    async def _call(
        self,
        what: tuple[ModelKey, str],
        model: Model,
        address: Address,
        call: StreamCall,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply | None:
        if call is not StreamCall.STATUS and model.stream.route_prefix == "auto" and what not in self._learnt:
            await self._ask(what, model, address, StreamCall.STATUS, {}, b"")
        return await self._ask(what, model, address, call, headers, body)

    async def _ask(
        self,
        what: tuple[ModelKey, str],
        model: Model,
        address: Address,
        call: StreamCall,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply | None:
        sent = dict(headers)
        if model.token is not None:
            sent["Authorization"] = f"Bearer {model.token.value}"
        method = "GET" if call is StreamCall.STATUS else "POST"
        reply = None
        for place in stream_routes(model, call, self._learnt.get(what, Learnt())):
            if place.port is not None and _is_hosts_own(model, address):
                continue
            url = address._replace(port=place.port or address.port).url + place.path
            async with self._session.request(
                method, url, headers=sent, data=body or None, allow_redirects=False
            ) as response:
                if response.status < 200:
                    raise ValueError(f"it answers {response.status}, which is no answer")
                reply = Reply(response.status, _passing(response), await _whole(response))
            if reply.status not in NOT_HERE:
                known = self._learnt.get(what, Learnt())
                self._learnt[what] = Learnt(
                    known.prefix if place.prefix is None else place.prefix,
                    known.update_path if place.update_path is None else place.update_path,
                )
                return reply
        self._learnt.pop(what, None)  # An external container may have become another one.
        return reply


def _is_hosts_own(model: Model, address: Address) -> bool:
    """Return whether any port there but the runner's own is this host's: a container's one port is published on it."""
    return address.host in LOOPBACK and model.kind is not RunnerKind.PROCESS


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for piece in response.content.iter_chunked(65_536):
        body += piece
        if len(body) > MOST_ANSWER_BYTES:
            raise ValueError(f"its answer is longer than {MOST_ANSWER_BYTES // 1024 // 1024} MiB")
    return bytes(body)


def _passing(response: aiohttp.ClientResponse) -> tuple[tuple[bytes, bytes], ...]:
    return tuple(
        (name, value) for name, value in response.raw_headers if name.lower().replace(b"_", b"-") not in _FRAMING
    )
