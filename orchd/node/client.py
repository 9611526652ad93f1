"""EDGE. HTTP to the go-livepeer node: its service port, its CLI port, and the trickle channels that it gives us.

The node makes a certificate of its own at each start, so the setting `certificate` says how to know it (byoc.md 1).
Redirects are never followed. A call takes at most `call_timeout_s`; nothing is repeated, save on a kept connection
that turns out to be dead: else a restarted node would look as if it dropped our calls, which means something (2.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ipaddress
import json
import re
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn
from urllib.parse import urlencode, urlsplit

import aiohttp
from yarl import URL

from orchd.domain.model import Secret
from orchd.errors import Code, OrchdError
from orchd.http_client import cause_of, connector, read_at_most, why
from orchd.lag import LoopLag
from orchd.names import Names
from orchd.node.settings import NodeSettings
from orchd.reasons import certificate_fault, one_line
from orchd.reasons import why as why_unusable

BODY_BYTES = 4 << 20
"""Longest answer that is read; the node's list of a thousand models stays far below."""

TEXT_BYTES = 4096
"""Of an answer that is shown, or compared with others, are looked at."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""Half of a pair that stands for one character. Without the other half it can neither be stored nor be sent on."""

KEEPALIVE_S = 30.0
"""An idle connection is kept; the node keeps its side for ten minutes (byoc.md 1)."""

TRICKLE = "/ai/trickle/"


class NodeError(OrchdError):
    """The node can't be asked, or does not do what it was asked.

    Attributes:
        dropped: it took the call and closed the connection without an answer.
    """

    code = Code.NODE_UNREACHABLE

    def __init__(self, message: str, *, code: Code | None = None, dropped: bool = False) -> None:
        super().__init__(message, code=code)
        self.dropped = dropped


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes
    content_type: str

    def text(self) -> str:
        """Return the body in one line, at most 300 characters; for people, and to compare refusals."""
        return one_line(self.body[:TEXT_BYTES].decode(errors="replace"), 300)

    def json(self) -> Any:
        """Return the parsed body.

        Raises:
            NodeError: it is not JSON, or none that everybody can read: too deep, or with texts that are no text.
        """
        try:
            document = json.loads(self.body, parse_constant=_no_number)
            if _SURROGATE.search(self.body):
                json.dumps(document, ensure_ascii=False).encode()
            return document
        except (ValueError, RecursionError) as exc:
            raise NodeError(
                f"cannot read go-livepeer's answer: it should be JSON, but is {self.text()!r}", code=Code.NODE_REFUSED
            ) from exc


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer whose body is still on its way.

    Attributes:
        headers: names in any case.
        pieces: the body as it comes. Raises NodeError if it breaks off.
    """

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class NodeClient:
    """Make it inside a running loop.

    Args:
        secret: the node's `-orchSecret`, trimmed as the node trims it (byoc.md 2.1); None = the node has none.
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
        self._certificate = _certificate_rule(settings)
        self._pinned: aiohttp.Fingerprint | None = None
        self._trusted: ssl.SSLContext | None = None
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

    def use_secret(self, secret: Secret | None) -> None:
        """Send another one from the next call on."""
        self.secret = secret

    async def close(self) -> None:
        await self._http.close()

    async def service(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        authorization: Secret | None = None,
    ) -> Answer:
        """Ask the service port; any status is an answer.

        Args:
            path: sent as it is, with a query if any.

        Raises:
            NodeError: there was no answer, or its certificate is not the node's.
        """
        sent = dict(headers) | ({"Authorization": authorization.value} if authorization else {})
        return await self._call(method, self._settings.service_url, path, sent, body)

    async def cli(
        self, method: str, path: str, *, form: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Answer:
        """Ask the CLI port; any status is an answer.

        Raises:
            NodeError: there was no answer; `NOT_SPOKEN` if the setting `cli_url` is empty.
        """
        base = self._settings.cli_url
        if not base:
            raise NodeError("cannot ask go-livepeer's CLI port: set orchestrator.cli_url", code=Code.NOT_SPOKEN)
        headers: dict[str, str] = {}
        if form is not None:
            body, headers = urlencode(form).encode(), {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._call(method, base, path, headers, body)

    @contextlib.asynccontextmanager
    async def stream(self, url: Secret, *, headers: Mapping[str, str] = {}) -> AsyncIterator[Stream]:
        """GET a trickle URL that the node gave; its host is replaced by the service port's, where the channels live.

        Neither the answer nor its body is bounded in time: a channel answers when there is something.

        Raises:
            NodeError: it is no trickle URL (`NODE_REFUSED`), there was no answer, or the body broke off.
        """
        _, mark, channel = url.value.partition(TRICKLE)
        if not mark:
            raise NodeError(
                f"cannot read go-livepeer's event channel: its URL has no {TRICKLE}", code=Code.NODE_REFUSED
            )
        base = self._settings.service_url
        with self._translated(base):
            response = await self._open("GET", base + TRICKLE + channel, headers, None)
        async with response:
            yield Stream(response.status, response.headers, self._pieces(response))

    async def fingerprint(self) -> str | None:
        """Return the SHA-256 of the node's certificate, as hex, after a handshake of its own; None for plain HTTP.

        Raises:
            NodeError: no handshake.
        """
        parts = urlsplit(self._settings.service_url)
        if parts.scheme != "https":
            return None
        with self._translated(self._settings.service_url):
            async with self._lag.timeout(self._settings.call_timeout_s):
                host, port = parts.hostname or "", parts.port or 443
                transport, _ = await self._names.connect(asyncio.Protocol, host, port, _unverified())
                try:
                    tls = transport.get_extra_info("ssl_object")
                    return hashlib.sha256(tls.getpeercert(binary_form=True)).hexdigest()
                finally:
                    transport.close()

    async def _call(self, method: str, base: str, path: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
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
                return Answer(response.status, whole, response.content_type)

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
                # The node may have been started anew, and have written its file, since we read it.
                former, tls = tls, self._tls(url)
                if tls is former:
                    raise
            except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
                if not connection.kept:
                    raise

    def _tls(self, url: str) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
        """Return what aiohttp shall check, after a look at the file that the setting names.

        Raises:
            NodeError: that file can't be used.
        """
        # The setting is about the service port; a CLI port has no TLS, save by a proxy with a certificate of its own.
        own = url.startswith(self._settings.service_url + "/")
        kind, _, path = (self._certificate if own else "system").partition(":")
        if kind in ("off", "system"):
            return kind == "system"
        try:
            if kind == "ca":
                if self._trusted is None:
                    self._trusted = ssl.create_default_context(cafile=path)
                return self._trusted
            pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert(Path(path).read_text("ascii"))).digest()
        except (OSError, ValueError) as exc:  # ssl.SSLError is an OSError
            pem = isinstance(exc, OSError) and not isinstance(exc, ssl.SSLError)
            said = why_unusable(exc) if pem else "it is not a certificate in PEM form"
            raise NodeError(
                f"cannot use {path} (orchestrator.certificate): {said}", code=Code.NODE_CERTIFICATE
            ) from exc
        if self._pinned is None or self._pinned.fingerprint != pin:
            # One object for as long as the file is the same: aiohttp keeps connections apart by it.
            self._pinned = aiohttp.Fingerprint(pin)
        return self._pinned

    async def _pieces(self, response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
        with self._translated(self._settings.service_url):
            async for piece in response.content.iter_any():
                yield piece

    @contextlib.contextmanager
    def _translated(self, base: str) -> Iterator[None]:
        """Turn what aiohttp and the system raise into `NodeError`; the URL's path stays out, it may be a secret."""
        try:
            yield
        except TimeoutError as exc:
            within = f"within {self._settings.call_timeout_s:g} s"
            raise NodeError(f"cannot reach go-livepeer at {base}: no answer {within}") from exc
        except aiohttp.ServerFingerprintMismatch as exc:
            raise NodeError(
                f"cannot trust go-livepeer at {base}: its certificate is not that of the file in "
                "orchestrator.certificate",
                code=Code.NODE_CERTIFICATE,
            ) from exc
        except (aiohttp.ClientConnectorCertificateError, ssl.SSLCertVerificationError) as exc:
            fault = cause_of(exc)
            said = certificate_fault(fault) if isinstance(fault, ssl.SSLCertVerificationError) else "it is not valid"
            raise NodeError(
                f"cannot trust the certificate of go-livepeer at {base}: {said}; the node makes its own at each start, "
                "so pin its file (orchestrator.certificate = pin:/PATH/cert.pem)",
                code=Code.NODE_CERTIFICATE,
            ) from exc
        except (aiohttp.ServerDisconnectedError, ConnectionResetError, BrokenPipeError) as exc:
            raise NodeError(
                f"cannot reach go-livepeer at {base}: it closed the connection without an answer", dropped=True
            ) from exc
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise NodeError(f"cannot reach go-livepeer at {base}: {why(exc)}") from exc


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _certificate_rule(settings: NodeSettings) -> str:
    """Return the setting `certificate`, with `auto` resolved: off on loopback, else `system`."""
    if settings.certificate != "auto":
        return settings.certificate
    host = urlsplit(settings.service_url).hostname or ""
    with contextlib.suppress(ValueError):
        return "off" if ipaddress.ip_address(host).is_loopback else "system"
    return "off" if host == "localhost" else "system"


def _unverified() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _note_reuse(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    context.trace_request_ctx.kept = True
