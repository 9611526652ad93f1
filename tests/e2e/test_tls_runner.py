"""An external runner behind TLS: bodies are copied both ways, and a certificate that is not trusted is said so."""

from __future__ import annotations

import hashlib
import io
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.blackbox.wire import Wire
from tests.e2e.conftest import Start
from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.e2e.scripts import PIPELINE

BIG = 8 * 1024 * 1024  # Without TLS it would go by splice.
CALM = {"interval_s": 3600, "failures": 1000}
BOUND = aiohttp.ClientTimeout(total=PATIENCE_S)


class Authority:
    """A CA that exists for one test."""

    def __init__(self, openssl: str, folder: Path, name: str) -> None:
        self._openssl, self._folder = openssl, folder
        self._key, self.certificate = folder / f"{name}.key", folder / f"{name}.pem"
        self._request(self._key, self.certificate, f"/CN={name}")

    def issue(self, subject: str) -> tuple[Path, Path]:
        """Return certificate and key for a subject, such as `IP:127.0.0.1`."""
        name = subject.replace(":", "-")
        key, certificate = self._folder / f"{name}.key", self._folder / f"{name}.pem"
        signed = ("-CA", str(self.certificate), "-CAkey", str(self._key), "-addext", f"subjectAltName={subject}")
        self._request(key, certificate, f"/CN={name}", *signed)
        return certificate, key

    def _request(self, key: Path, certificate: Path, name: str, *more: str) -> None:
        kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        files = ("-keyout", str(key), "-out", str(certificate))
        subprocess.run(
            [self._openssl, "req", "-x509", *kind, "-days", "2", "-subj", name, *files, *more],
            check=True,
            capture_output=True,
            timeout=60,
        )


class TlsRunner:
    """Says that it is well, echoes bodies at their length, and WebSocket messages.

    Attributes:
        context: what new connections get shown; its certificate can be changed.
        received: SHA-256 of each body that came whole.
        tunnels: WebSockets that are open.
    """

    def __init__(self) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.received: list[str] = []
        self.tunnels = 0
        self.url = ""
        app = web.Application(client_max_size=2 * BIG)
        app.router.add_get("/health", self._health)
        app.router.add_get("/ws", self._ws)
        app.router.add_post("/{path:.*}", self._echo)
        self._runner = web.AppRunner(app)

    def shows(self, certificate: tuple[Path, Path]) -> None:
        self.context.load_cert_chain(*certificate)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self.context).start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _echo(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.received.append(hashlib.sha256(body).hexdigest())
        return web.Response(body=io.BytesIO(body))

    async def _ws(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.tunnels += 1
        try:
            async for message in ws:
                await ws.send_bytes(message.data)
        finally:
            self.tunnels -= 1
        return ws


@pytest.fixture
def authority(needs: Callable[[str], str], tmp_path: Path) -> Authority:
    return Authority(needs("openssl"), tmp_path, "the-operators-ca")


@pytest.fixture
async def runner(authority: Authority) -> AsyncIterator[TlsRunner]:
    runner = TlsRunner()
    runner.shows(authority.issue("IP:127.0.0.1"))
    await runner.start()
    yield runner
    await runner.close()


@pytest.fixture
async def daemon(make: Start, authority: Authority, runner: TlsRunner) -> AsyncIterator[Daemon]:
    """It trusts the authority, and its model is ready; health asks no more."""
    patient = {"jobs.between_bytes_timeout_s": "600"}  # No time-out makes up for what it should see.
    daemon = make(env={"SSL_CERT_FILE": str(authority.certificate)}, settings=patient)
    known = {"pipeline": PIPELINE, "model_id": "m", "price_per_unit": 0, "maxSessions": 8}
    daemon.write({**known, "url": runner.url, "health": CALM, "inference": {"timeout_s": 600}})
    async with daemon:
        await daemon.until_state("m", "ready")
        yield daemon


async def refusal(daemon: Daemon) -> str:
    """Return what a job is told that can't reach its runner."""
    async with daemon.client.post(f"{daemon.url}/{PIPELINE}", data=b"body") as answer:
        told = await answer.json()
        assert (answer.status, told["error"]) == (502, "backend_unavailable")
    return str(told["message"])


async def test_a_big_body_passes_both_ways(daemon: Daemon, runner: TlsRunner) -> None:
    body = os.urandom(BIG)
    for _ in range(2):  # The second one on the connection of the first.
        async with daemon.client.post(f"{daemon.url}/{PIPELINE}", data=io.BytesIO(body), timeout=BOUND) as answer:
            assert (answer.status, answer.content_length) == (200, BIG)
            assert await answer.read() == body
    assert runner.received == [hashlib.sha256(body).hexdigest()] * 2
    done = await daemon.until(
        "both have their line", lambda: len(daemon.events("job_done")) == 2 and daemon.events("job_done")
    )
    assert [(line["bytes_in"], line["bytes_out"]) for line in done] == [(BIG, BIG)] * 2


async def test_a_certificate_of_an_authority_that_is_not_trusted_is_said_so(
    daemon: Daemon, runner: TlsRunner, needs: Callable[[str], str], tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    runner.shows(Authority(needs("openssl"), folder, "somebody-elses-ca").issue("IP:127.0.0.1"))
    message = await refusal(daemon)
    assert message.startswith(f"cannot reach the runner of {PIPELINE}/m: ")
    assert "its certificate can't be trusted: it is signed by an authority that is not trusted here" in message
    assert "SSL_CERT_FILE" in message
    assert runner.received == []


async def test_a_certificate_for_another_host_is_said_so(
    daemon: Daemon, runner: TlsRunner, authority: Authority
) -> None:
    runner.shows(authority.issue("DNS:elsewhere.test"))
    message = await refusal(daemon)
    assert "its certificate can't be trusted: it is for another address" in message
    assert runner.received == []


async def test_a_websocket_goes_through_and_ends_with_its_caller(daemon: Daemon, runner: TlsRunner) -> None:
    async with aiohttp.ClientSession() as client, client.ws_connect(f"{daemon.url}/models/{PIPELINE}/m/ws") as ws:
        for size in (1, 70_000):
            await ws.send_bytes(bytes(size))
            assert await ws.receive_bytes(timeout=PATIENCE_S) == bytes(size)
        assert runner.tunnels == 1
    await daemon.until("the runner has heard", lambda: runner.tunnels == 0)
    await daemon.until_model("m", "has its slot back", lambda model: model["sessions"]["active"] == 0)


async def test_a_tunnel_whose_caller_leaves_without_a_word_ends(daemon: Daemon, runner: TlsRunner) -> None:
    """TLS has no half-closed connections: the runner is told by closing."""
    with Wire(daemon.jobs_port) as wire:
        wire.head(
            *("GET", f"/models/{PIPELINE}/m/ws", ("Connection", "Upgrade"), ("Upgrade", "websocket")),
            *(("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA==")),
        )
        await daemon.until("it is a tunnel", lambda: runner.tunnels == 1)
        assert wire.reply_head().status == 101  # What is read does not make closing a reset.
    await daemon.until("the runner has heard", lambda: runner.tunnels == 0)
    await daemon.until_model("m", "has its slot back", lambda model: model["sessions"]["active"] == 0)
