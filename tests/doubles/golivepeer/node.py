"""One go-livepeer orchestrator: its two listeners, its state, and how it starts, stops and comes back.

A start makes everything anew, as a process does; ports are kept. `leave` only closes the listeners.
"""

from __future__ import annotations

import ssl
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from aiohttp import web

from tests.doubles.golivepeer import cli
from tests.doubles.golivepeer.byoc import Byoc
from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.grpc_listing import GrpcPort
from tests.doubles.golivepeer.live_runner import LiveRunners
from tests.doubles.golivepeer.price import BasePrices
from tests.doubles.golivepeer.trickle import Trickle
from tests.doubles.shared import alpn, certificate
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.faults import Faults
from tests.doubles.shared.go_http import application
from tests.doubles.shared.listener import Listener


@dataclass(frozen=True)
class NodeSettings:
    """The node's flags. Addresses are `host:port`, port 0 = a free one."""

    service: str = "127.0.0.1:0"
    cli: str = "127.0.0.1:0"
    service_uri: str | None = None
    """What the node calls itself (`-serviceAddr`); None = its own address."""
    plain_http: bool = False
    orch_secret: str | None = "s3cret"
    use_live_runners: bool = False
    live_runner_config: Path | None = None
    live_runner_addr: str | None = None
    live_runner_proxy_url: str | None = None
    trickle_host_for_runner: str | None = None
    """`-liveAITrickleHostForRunner`, host:port."""
    on_chain: Chain | None = None
    monitor: bool = True
    version: str = "0.9.x"

    @property
    def has_byoc(self) -> bool:
        """Return whether the version has BYOC: 0.10 has Live Runner alone."""
        major, minor, *_ = self.version.split(".")
        return (int(major), int(minor)) < (0, 10)


class Node:
    def __init__(self, settings: NodeSettings, clock: Clock, *, datadir: Path | None = None) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = Faults()
        self.starts = 0
        """How often the node was started."""
        self._datadir = datadir
        self._own_datadir: tempfile.TemporaryDirectory[str] | None = None
        self._service = Listener(settings.service)
        self._cli = Listener(settings.cli)
        self._tls: ssl.SSLContext | None = None
        self.grpc = GrpcPort(self)
        self._reset()

    def _reset(self) -> None:
        self.byoc = Byoc(self)
        self.trickle = Trickle(self)
        self.live_runners = LiveRunners(self)
        self.base_prices = BasePrices(self.settings.on_chain)
        self.max_sessions = 10
        self.adopted_uri: str | None = None
        """Set by a transaction of the node's own (`/setOrchestratorConfig`); takes the place of the flag's."""
        self.started_at = time.time()

    @property
    def service_url(self) -> str:
        """Where the service port listens."""
        return f"{'http' if self.settings.plain_http else 'https'}://{self._service.address}"

    @property
    def cli_url(self) -> str:
        return f"http://{self._cli.address}"

    @property
    def service_uri(self) -> str:
        """What the node tells others of itself."""
        return self.adopted_uri or self.settings.service_uri or self.service_url

    @property
    def datadir(self) -> Path:
        """The one that was given, or one that ends with the node; a node that is never started has none of its own."""
        if self._datadir is not None:
            return self._datadir
        if self._own_datadir is None:
            self._own_datadir = tempfile.TemporaryDirectory()
        return Path(self._own_datadir.name)

    @property
    def certificate_path(self) -> Path:
        return self.datadir / "cert.pem"

    @property
    def connections(self) -> int:
        """Open connections to the service port."""
        return self._service.connections

    async def start(self) -> None:
        """Start with nothing remembered and a new certificate; the CLI port opens first."""
        self.starts += 1
        self._reset()
        if not self.settings.plain_http:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.set_alpn_protocols(alpn.PROTOCOLS)
            self.change_certificate()
        # Static runners are told where the node is before its service port opens.
        self._service.bind()
        await self._open_cli()
        await self.trickle.start()
        await self.live_runners.start()
        await self._open_service()

    async def stop(self) -> None:
        """As at SIGTERM: what runs is cut."""
        await self.leave()
        await self.live_runners.stop()
        await self.trickle.stop()
        await self.byoc.stop()

    async def kill(self) -> None:
        """As at SIGKILL. To others there is no difference: `stop` is not graceful either."""
        await self.stop()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def leave(self) -> None:
        """Stop listening, cut every connection, forget nothing."""
        await self._service.close()
        await self.grpc.stop()
        await self._cli.close()

    async def come_back(self) -> None:
        await self._open_cli()
        await self._open_service()

    def change_certificate(self) -> None:
        """Make a new certificate; handshakes from now on get it."""
        if self._tls is not None:
            certificate.write(self.datadir, self.settings.service.rpartition(":")[0])
            self._tls.load_cert_chain(self.certificate_path, self.datadir / "key.pem")

    async def _open_cli(self) -> None:
        routes = [*self._chain_routes(), *cli.routes(self), *self.live_runners.cli_routes()]
        await self._cli.open(application(routes, self.faults.middleware(self.clock)), None)

    async def _open_service(self) -> None:
        routes = [
            web.route("*", "/healthz", _healthz),
            *(self.byoc.routes() if self.settings.has_byoc else ()),
            *self.live_runners.routes(),
            *self.trickle.routes(),
        ]
        await self._service.open(
            application(routes, self.faults.middleware(self.clock)), self._tls, self.grpc.connected
        )

    def _chain_routes(self) -> list[web.RouteDef]:
        if self.settings.on_chain is None:
            return []
        from tests.doubles.golivepeer import onchain

        return onchain.cli_routes(self)

    async def __aenter__(self) -> Node:
        try:
            await self.start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        try:
            await self.stop()
        finally:
            if self._own_datadir is not None:
                self._own_datadir.cleanup()
                self._own_datadir = None


async def _healthz(_request: web.Request) -> web.StreamResponse:
    return web.Response()
