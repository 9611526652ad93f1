"""EDGE. HTTP to the node: its service port, its CLI port, and the trickle channels that it gives us.

Redirects are never followed. A call takes at most `call_timeout_s`. Nothing is repeated, except on a kept connection
that turns out to be dead: a restarted node would otherwise look as if it dropped our calls, which has a meaning
(docs/protocol/byoc.md, 2.2). How its certificate is checked: `orchd.node.trust`.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from types import SimpleNamespace
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from orchd.domain.live_runner import TRICKLE
from orchd.domain.model import Secret
from orchd.errors import Code
from orchd.http_client import cause_of, connector, read_at_most, speaks_otherwise, why
from orchd.lag import LoopLag
from orchd.names import Names
from orchd.node.address import bases, is_plain_to_tls, scheme_advice
from orchd.node.ports import NodeAnswer, NodeError, StreamedAnswer
from orchd.node.settings import NodeSettings
from orchd.node.trust import NodeTrust, unverified
from orchd.reasons import certificate_fault

BODY_BYTES = 4 << 20
"""Longest answer that is read; the node's list of a thousand models stays far below."""

KEEPALIVE_S = 30.0
"""An idle connection is kept; the node keeps its side for ten minutes (docs/protocol/byoc.md, 1)."""


class NodeClient:
    """`orchd.node.ports.NodeConnection` over aiohttp. Make it inside a running loop.

    Args:
        secret: the node's, without blanks and line ends around it; None = it has none.
    """

    def __init__(
        self,
        settings: NodeSettings,
        secret: Secret | None,
        names: Names | None = None,
        lag: LoopLag | None = None,
    ) -> None:
        self._lag = lag or LoopLag()
        self.secret = secret
        self._names = names or Names()
        self._settings = settings
        self._bases = bases(settings.service_url)
        self.base = self._bases[0]
        self._trust = NodeTrust(settings.certificate, settings.service_url)
        self._pinned: aiohttp.Fingerprint | None = None
        tracing = aiohttp.TraceConfig()
        tracing.on_connection_reuseconn.append(_note_reuse)
        self._http = aiohttp.ClientSession(
            connector=connector(self._names, keepalive_s=KEEPALIVE_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=settings.call_timeout_s
            ),  # `_call` bounds the whole.
            headers={"User-Agent": "orchd", "Accept-Encoding": "identity"},
            trace_configs=[tracing],
        )

    def switch_scheme(self) -> bool:
        """See `NodeConnection.switch_scheme`."""
        if len(self._bases) == 1:
            return False
        self._bases = self._bases[1], self._bases[0]
        self.base = self._bases[0]
        return True

    async def find_scheme(self) -> None:
        """Ask by the scheme that the node speaks from now on, if it answers; for those who have no watch."""
        try:
            await self.service("GET", "/discovery")
        except NodeError as exc:
            if exc.wrong_scheme or exc.dropped:
                self.switch_scheme()

    def use_secret(self, secret: Secret | None) -> None:
        """Send another secret from the next call on."""
        self.secret = secret

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def service(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        authorization: Secret | None = None,
    ) -> NodeAnswer:
        """See `NodeCalls.service`."""
        sent = dict(headers) | ({"Authorization": authorization.value} if authorization else {})
        return await self._call(method, self.base, path, sent, body)

    async def cli(
        self, method: str, path: str, *, form: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> NodeAnswer:
        """See `NodeCalls.cli`."""
        base = self._settings.cli_url
        if not base:
            raise NodeError("cannot ask go-livepeer's CLI port: set orchestrator.cli_url", code=Code.NOT_SPOKEN)
        headers: dict[str, str] = {}
        if form is not None:
            body, headers = urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._call(method, base, path, headers, body)

    @contextlib.asynccontextmanager
    async def stream(self, url: Secret, *, headers: Mapping[str, str] = {}) -> AsyncIterator[StreamedAnswer]:
        """See `NodeCalls.stream`."""
        _, mark, channel = url.value.partition(TRICKLE)
        if not mark:
            raise NodeError(f"cannot read the node's event channel: its URL has no {TRICKLE}", code=Code.NODE_REFUSED)
        base = self.base
        with self._translated(base):
            response = await self._open("GET", base + TRICKLE + channel, headers, None)
        async with response:
            yield StreamedAnswer(response.status, response.headers, self._pieces(response))

    async def fingerprint(self) -> str | None:
        """See `NodeCalls.fingerprint`."""
        parts = urlsplit(self.base)
        if parts.scheme != "https":
            return None
        with self._translated(self.base):
            async with self._lag.timeout(self._settings.call_timeout_s):
                host, port = parts.hostname or "", parts.port or 443
                transport, _ = await self._names.connect(asyncio.Protocol, host, port, unverified())
                try:
                    tls = transport.get_extra_info("ssl_object")
                    return hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()
                finally:
                    transport.close()

    async def _call(
        self, method: str, base: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> NodeAnswer:
        with self._translated(base):
            async with (
                self._lag.timeout(self._settings.call_timeout_s),
                await self._open(method, base + path, headers, body) as response,
            ):
                whole = await read_at_most(response, BODY_BYTES + 1)
                if len(whole) > BODY_BYTES:
                    raise NodeError(
                        f"cannot read the answer of {base}: it is longer than {BODY_BYTES >> 20} MiB",
                        code=Code.NODE_REFUSED,
                    )
                if is_plain_to_tls(base, response.status, whole):
                    raise self._wrong_scheme(base)
                return NodeAnswer(response.status, whole, response.content_type)

    async def _open(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> aiohttp.ClientResponse:
        """Ask over a kept connection or a new one; again for each kept one that turns out to be dead."""
        tls = self._tls(url)
        while True:
            connection = SimpleNamespace(kept=False)
            try:
                return await self._http.request(
                    method,
                    URL(url, encoded=True),
                    headers=headers,
                    data=body,
                    ssl=tls,
                    allow_redirects=False,
                    trace_request_ctx=connection,
                )
            except aiohttp.ServerFingerprintMismatch:
                # The node may have been restarted, and have written its file, since we read it.
                former, tls = tls, self._tls(url)
                if tls is former:
                    raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not connection.kept:
                    raise

    def _tls(self, url: str) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
        """Return what aiohttp is to check, after a read of the file that the setting names.

        Raises:
            NodeError: that file can't be used.
        """
        if not url.startswith(self.base + "/"):
            # The setting is about the service port. A CLI port has TLS only by a proxy, with a certificate of its own.
            return True
        check = self._trust.check()
        if not isinstance(check, bytes):
            return check
        if self._pinned is None or self._pinned.fingerprint != check:
            # The same object for as long as the file is the same: aiohttp keeps connections apart by it.
            self._pinned = aiohttp.Fingerprint(check)
        return self._pinned

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        with self._translated(self.base):
            async for piece in response.content.iter_any():
                yield piece

    @contextlib.contextmanager
    def _translated(self, base: str) -> Iterator[None]:
        """Turn what aiohttp and the system raise into `NodeError`; the URL's path stays out, it may be a secret."""
        try:
            yield
        except TimeoutError as exc:
            within = f"within {self._settings.call_timeout_s:g} s"
            raise NodeError(f"cannot reach the node at {base}{self._setting(base)}: no answer {within}") from exc
        except aiohttp.ServerFingerprintMismatch as exc:
            raise NodeError(
                f"cannot trust the node at {base}: its certificate is not that of the file in orchestrator.certificate",
                code=Code.NODE_CERTIFICATE,
            ) from exc
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as exc:
            fault = cause_of(exc)
            said = certificate_fault(fault) if isinstance(fault, ssl.SSLCertVerificationError) else "it is not valid"
            raise NodeError(
                f"cannot trust the certificate of the node at {base}: {said}; set orchestrator.certificate "
                "to pin:/PATH of go-livepeer's cert.pem, or to ca:/PATH for a proxy in front of the node",
                code=Code.NODE_CERTIFICATE,
            ) from exc
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError) as exc:
            raise NodeError(
                f"cannot reach the node at {base}: it closed the connection without an answer", dropped=True
            ) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            if speaks_otherwise(exc):
                raise self._wrong_scheme(base) from exc
            raise NodeError(f"cannot reach the node at {base}{self._setting(base)}: {why(exc)}") from exc

    def _setting(self, base: str) -> str:
        return " (orchestrator.service_url)" if base in self._bases else ""

    def _wrong_scheme(self, base: str) -> NodeError:
        rules = self._settings
        cli = base == rules.cli_url and base not in self._bases
        setting, written = ("cli_url", rules.cli_url) if cli else ("service_url", rules.service_url)
        advice = scheme_advice(base, f"orchestrator.{setting}", written)
        return NodeError(f"cannot reach the node at {base}: {advice}", wrong_scheme=True)


async def _note_reuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.kept = True
