"""The listener for payers, as a part: it opens last, and is the first to go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Protocol

import structlog

from orchd.domain.snapshots import SnapshotSource
from orchd.domain.state import CertificateStatus, ClientsStatus, PublicStatus, Snapshot
from orchd.doors.entrance import Entrance
from orchd.doors.nowhere import NowhereDoor
from orchd.doors.way_in import WayIn
from orchd.errors import SettingsError
from orchd.history.ports import History
from orchd.limits import open_files, share
from orchd.part import Context, Part, Roots
from orchd.public.answers import PublicAnswers
from orchd.public.certificate import Certificate
from orchd.public.connections import AddressLimit
from orchd.public.doubts import host_of, refused
from orchd.public.metrics import PublicCollector
from orchd.public.peers import Peers
from orchd.public.runner_listener import RunnerListener, RunnerSideOpening
from orchd.public.tls import CertificateWatch, PublicTls, files_of, own_certificate, read_files
from orchd.relay.listener import JobListener, OpenListener
from orchd.settings.files import READ_TIMEOUT_S
from orchd.threads import DaemonThreads

log = structlog.get_logger("orchd.public")


class ServesListeners(Protocol):
    """See `jobs.part.JobsPart`."""

    async def open_listener(self, listener: JobListener) -> OpenListener:
        """Take its ports; connections wait until `take_connections`.

        Raises:
            OrchdError: ADDRESS_IN_USE, SETTING_INVALID.
        """
        ...


class HasSnapshots(Protocol):
    """See `reconcile.ports.Reconciler`."""

    @property
    def snapshots(self) -> SnapshotSource: ...


class PublicPart(Part):
    """Has the job server listen for payers.

    Args:
        ways: by the name in `public.doors`, what makes it; called when the parts below are open.
        runner_side: what is for containers; None = none of the doors needs that.
    """

    name = "public"

    def __init__(
        self,
        context: Context,
        jobs: ServesListeners,
        reconcile: HasSnapshots,
        history: History,
        ways: Mapping[str, Callable[[], WayIn]],
        runner_side: RunnerSideOpening | None = None,
    ) -> None:
        self._context = context
        self._jobs = jobs
        self._reconcile = reconcile
        self._history = history
        self._runner_side = runner_side
        self._runners: RunnerListener | None = None
        self._ways = ways
        self._opened_ways: list[WayIn] = []
        self._threads = DaemonThreads("certificate")
        self._listener: OpenListener | None = None
        self._tls: PublicTls | None = None
        self._watch: CertificateWatch | None = None

    @property
    def port(self) -> int:
        """The first port in use; differs from the setting if that is 0."""
        return self._opened.port

    async def open(self) -> None:
        context, settings = self._context, self._context.settings.public
        if wrong := list(refused(settings)):
            raise SettingsError("\n".join(f"cannot use {name}: {why}" for name, why in wrong))
        collector = PublicCollector(context.metrics, self._expires_at, self._clients)
        if settings.tls:
            await self._open_tls(collector)
        self._opened_ways = [self._ways[name]() for name in settings.doors]
        doors = tuple(door for way in self._opened_ways for door in way.doors)
        own = PublicAnswers(settings, collector, asyncio.get_running_loop().time, context.lag.timeout)
        peers = Peers(settings.trusted_proxies)
        containers = () if self._runner_side is None else tuple(self._runner_side.doors())
        entrance = Entrance((*doors, *containers, NowhereDoor()), settings.base_path, peers.peer_of, own, "https")
        most, jobs = settings.max_connections, context.settings.jobs
        limits = jobs.model_copy(
            update={"listen": settings.listen, "max_connections": most, "max_header_kb": settings.max_header_kb}
        )
        others = jobs.max_connections + settings.all_connections
        files = share(open_files(), most, others - most)
        addresses = AddressLimit(settings.max_connections_per_address, peers, collector.connection_refused)
        listener = JobListener("public", limits, entrance, files, self._tls, addresses, silent_s=entrance.silent_s)
        self._listener = await self._jobs.open_listener(listener)
        if self._runner_side is not None:
            own = PublicAnswers(settings, collector, asyncio.get_running_loop().time, context.lag.timeout)
            inside = Entrance((*containers, NowhereDoor()), own=own)
            half = max(1, most // 2)  # One for loopback, and one for the network of the containers.
            limits = limits.model_copy(update={"max_connections": half})
            files = share(open_files(), half, others - half)
            inner = JobListener("runner_side", limits, inside, files, silent_s=inside.silent_s)
            await self._open_runner_side(self._runner_side, inner)
        self._reconcile.snapshots.contribute(None, self._add_to)

    async def _open_runner_side(self, opening: RunnerSideOpening, listener: JobListener) -> None:
        def open_at(address: str) -> Awaitable[OpenListener]:
            limits = listener.settings.model_copy(update={"listen": (address,)})
            return self._jobs.open_listener(replace(listener, settings=limits, setting="public.runner_listen"))

        setting = self._context.settings.public.runner_listen
        self._runners = RunnerListener(setting, opening.host_seen, open_at)
        opening.host_known.connect(self._runners.look)
        opening.listening(*await self._runners.open())

    async def _open_tls(self, collector: PublicCollector) -> None:
        context, settings = self._context, self._context.settings.public
        host = host_of(settings)
        try:
            if settings.certificate:
                certificate = await self._read()
            else:
                certificate = await self._threads.run(lambda: own_certificate(context.state_dir, host), READ_TIMEOUT_S)
            self._tls = tls = PublicTls(certificate, collector.handshake_failed, context.lag)
        except (ValueError, TimeoutError) as exc:
            why = str(exc) or "the file system of public.certificate does not answer"
            raise SettingsError(f"cannot use the certificate of public.listen: {why}") from exc
        self._watch = CertificateWatch(tls, self._history, self._read if settings.certificate else None)

    async def _read(self) -> Certificate:
        chain, key = files_of(self._context.settings.public, self._context.env)
        return await self._threads.run(lambda: read_files(chain, key), READ_TIMEOUT_S)

    def roots(self) -> Roots:
        roots = {name: root() for way in self._opened_ways for name, root in way.roots.items()}
        if self._watch is not None:
            roots["certificate"] = self._watch.run()
        if self._runners is not None:
            roots["runner side"] = self._runners.follow()
        return roots

    async def start(self) -> None:
        if self._runners is not None:
            await self._runners.start()
        await self._opened.take_connections()
        log.info("public_listening", listen=list(self._opened.listen), doors=list(self._context.settings.public.doors))

    async def withdraw(self) -> None:
        self._opened.stop_accepting()
        if self._runners is not None:
            self._runners.stop_accepting()

    async def close(self) -> None:
        self._threads.close()

    @property
    def _opened(self) -> OpenListener:
        assert self._listener is not None
        return self._listener

    def _expires_at(self) -> float | None:
        return None if self._tls is None else self._tls.certificate.expires_at

    def _clients(self) -> ClientsStatus | None:
        return next((way.clients() for way in self._opened_ways if way.clients is not None), None)

    def _add_to(self, snapshot: Snapshot) -> Snapshot:
        settings, tls, watch = self._context.settings.public, self._tls, self._watch
        certificate = None
        if tls is not None and watch is not None:
            now = tls.certificate
            certificate = CertificateStatus(now.expires_at, now.self_signed, watch.trouble)
        listen = self._opened.listen or settings.listen
        runners = self._runners
        status = PublicStatus(
            listen,
            settings.url,
            settings.base_path,
            settings.doors,
            certificate,
            () if runners is None else runners.listen,
            "" if runners is None else runners.trouble,
            self._clients(),
        )
        return replace(snapshot, public=status)
