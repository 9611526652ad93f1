"""The Runtime over containers of a Docker Engine. Their labels are its memory: it keeps nothing that must survive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from pathlib import Path
from typing import Any

import structlog

from orchd.domain.ids import Address, RunnerId
from orchd.domain.model import ContainerLaunch, GpuRequest, Model, RunnerKind, StopSpec
from orchd.domain.ports import HostSeen, Sighting, StopReport
from orchd.domain.runs import EndedRun, LogView
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.whereabouts import Whereabouts
from orchd.errors import AlreadyRunning, Code, EngineUnavailable, LaunchError
from orchd.runtime.docker import spec
from orchd.runtime.docker.claim import Claim, own_container_id
from orchd.runtime.docker.client import Refused
from orchd.runtime.docker.container_log import read_log
from orchd.runtime.docker.engine import Engine
from orchd.runtime.docker.event_stream import follow_events
from orchd.runtime.docker.gpus import known_gpus
from orchd.runtime.docker.images import Images
from orchd.runtime.docker.network import SharedNetwork
from orchd.runtime.docker.reach import Reach, address_of, choose_reach, host_seen, is_routed
from orchd.runtime.docker.settings import DockerSettings
from orchd.runtime.docker.sightings import STATUS, ContainerSightings
from orchd.runtime.docker.stop import stop_container
from orchd.runtime.docker.unreachable import why_unreachable
from orchd.runtime.docker.volumes import host_path
from orchd.runtime.docker.whereabouts import ContainerWhereabouts
from orchd.runtime.keep import KEEP_TIMEOUT_S, LogKeeper
from orchd.runtime.out_of_memory import OutOfMemory

log = structlog.get_logger("orchd.runtime")

_LINE_LENGTH = 500
_RELEASE_TIMEOUT_S = 5.0
"""A courtesy at the end, and no reason to wait for an engine that hangs."""
_SERVICE_UNAVAILABLE = 503
_KEPT_LINES = 10_000
"""Most lines of a log that are looked at for what is kept of it: Docker finds a log's end by lines alone."""


def ignore(kind: str, event: str) -> None:
    """Nobody counts events."""


class DockerRuntime:
    """See `orchd.domain.ports.Runtime`.

    Args:
        models_folder: absolute; where the models file lies, and volumes beside it.
        on_event: told of each container event of this instance, as (kind, event): a metric.
        on_open: called whenever it has been opened, before anything is said of a container: `host_seen` is known.
    """

    id = RuntimeId(RunnerKind.CONTAINER)

    def __init__(
        self,
        settings: DockerSettings,
        *,
        instance: str,
        state_dir: str,
        models_folder: str = "/etc/orchd",
        on_event: Callable[[str, str], None] = ignore,
        on_open: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._state_dir = state_dir
        self._on_event = on_event
        self._on_open = on_open
        self._models_folder = models_folder
        self._own_mounts: list[dict[str, Any]] | None = None
        self._own_address = ""
        self._engine = Engine(settings.call_timeout_s)
        self._images = Images(self._engine, settings.pull_stall_s)
        self._keeper = LogKeeper(Path(state_dir))
        self._whereabouts = ContainerWhereabouts(self._engine)
        self._claim: Claim | None = None
        self._reach = Reach.ADDRESS
        self._was_open = False
        # Held from the choice of GPUs until the label that tells of it exists.
        self._choosing = asyncio.Lock()
        self._network = SharedNetwork(self._engine, settings.network, {spec.INSTANCE: instance})
        self._sightings = ContainerSightings(
            self._engine, self._whereabouts, self._address, OutOfMemory() if self._engine.local else None
        )

    @property
    def host_seen(self) -> HostSeen:
        """See `reach.host_seen`."""
        if not self._was_open:
            return HostSeen()
        return host_seen(self._reach, self._network.gateway, self._own_address)

    @property
    def _ours(self) -> str:
        return f"{spec.INSTANCE}={self._instance}"

    async def open(self) -> None:
        network = self._settings.network
        await self._engine.connect()
        own = await self._own_container()
        self._own_mounts = own["Mounts"] if own else None
        joined = (own or {}).get("NetworkSettings", {}).get("Networks", {}).get(network) or {}
        self._own_address = joined.get("IPAddress") or ""
        if self._claim is None:
            self._claim = Claim(
                self._engine,
                self._instance,
                self._state_dir,
                container_id=own["Id"] if own else "",
                container_started_at=own["State"]["StartedAt"] if own else "",
            )
        await self._claim.take()
        if await self._network.make():
            log.info("network_created", network=network)
        self._reach = choose_reach(
            self._settings.reach,
            network,
            own_networks=own["NetworkSettings"]["Networks"].keys() if own else None,
            routed=is_routed(await self._engine.info(), local=self._engine.local),
        )
        log.info("engine_connected", engine=self._engine.where, network=network, reach=self._reach.value)
        self._was_open = True
        self._on_open()

    async def _own_container(self) -> dict[str, Any] | None:
        """Return the inspection of the container that orchd runs in, if it is one of this engine."""
        found = own_container_id()
        return await self._engine.inspect(found) if found else None

    async def close(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            try:
                async with asyncio.timeout(_RELEASE_TIMEOUT_S):
                    await claim.release()
            except (EngineUnavailable, TimeoutError) as error:  # the next daemon sees that we are gone
                log.warning("claim_not_released", error=str(error) or "the engine does not answer")
        self._keeper.close()
        await self._engine.close()

    async def sightings(self) -> tuple[Sighting, ...]:
        await self._keep_claim()
        return await self._sightings.of(await self._engine.containers(self._ours))

    async def _keep_claim(self) -> None:
        """Take the claim again if somebody pruned it; if another daemon was quicker, touch nothing from now on."""
        if self._claim is None:
            raise EngineUnavailable("cannot look at containers: not connected")
        try:
            await self._claim.take()
        except AlreadyRunning as error:
            raise EngineUnavailable(error.message, code=Code.ALREADY_RUNNING) from error

    def _address(self, container: dict[str, Any], labels: dict[str, str]) -> Address | None:
        port = spec.port_of(labels)
        return address_of(container, self._reach, self._settings.network, port) if port is not None else None

    async def prepare(self, model: Model, runner: RunnerId, progress: Callable[[str], None]) -> str:
        launch = model.launch
        if not isinstance(launch, ContainerLaunch):
            raise TypeError(f"{runner} is no container")
        name = spec.container_name(self._instance, runner)
        if (existing := await self._existing(name, runner)) is not None:
            return existing
        await self._images.provide(launch.image, launch.pull, progress)
        gpus: tuple[tuple[str, ...], ...] = ()
        if launch.gpus is not None and launch.gpus.mode == "count":
            gpus = await known_gpus(self._settings.gpu_ids, self._settings.call_timeout_s)
        async with self._choosing:
            body = spec.create_body(
                self._instance,
                runner,
                launch,
                self._settings,
                gpu_ids=await self._chosen(launch.gpus, gpus, runner),
                publish=self._reach is Reach.LOOPBACK,
                host_path=self._host_path,
            )
            try:
                return await self._engine.create(name, body)
            except Refused as refused:
                raise _launch_error(f"create the container of {runner.key}", refused) from refused

    async def check(self, model: Model, progress: Callable[[str], None]) -> None:
        launch = model.launch
        if not isinstance(launch, ContainerLaunch):
            raise TypeError(f"{model.key} is no container")
        await self._images.provide(launch.image, launch.pull, progress)
        # The engine would refuse to create it, and by then the former container would be gone.
        if not (launch.entrypoint or launch.args or await self._engine.has_command(launch.image)):
            raise LaunchError(
                f"cannot run {launch.image}: the image names no program; give the entry `entrypoint` or `args`"
            )
        if launch.gpus is not None and launch.gpus.mode == "count":
            gpus = await known_gpus(self._settings.gpu_ids, self._settings.call_timeout_s)
            spec.choose_gpus(launch.gpus.count, gpus, [])

    def _host_path(self, path: str) -> str:
        return path if self._own_mounts is None else host_path(path, self._models_folder, self._own_mounts)

    async def _existing(self, name: str, runner: RunnerId) -> str | None:
        """Return the id of the runner's container if it is still of use; remove what is left of a dead one."""
        found = await self._engine.inspect(name)
        if found is None:
            return None
        if spec.runner_of(name, found["Config"]["Labels"] or {}) != runner:
            raise LaunchError(
                f"cannot create the container {name} of {runner.key}: somebody else's container has this name; "
                "rename or remove that one"
            )
        if found["State"]["Status"] in STATUS:
            return str(found["Id"])
        await self._engine.remove(found["Id"])
        return None

    async def _chosen(
        self, request: GpuRequest | None, gpus: tuple[tuple[str, ...], ...], runner: RunnerId
    ) -> tuple[str, ...]:
        if request is None:
            return ()
        if request.mode == "all":
            return (spec.ALL_GPUS,)
        if request.mode == "ids":
            return request.ids
        entries = await self._engine.containers(self._ours)
        # The generation that this one replaces will have given its GPUs back.
        taken = [
            spec.gpu_ids_of(entry["Labels"] or {})
            for entry in entries
            if entry["State"] in STATUS and not spec.same_replica(entry["Labels"] or {}, runner)
        ]
        return spec.choose_gpus(request.count, gpus, taken)

    async def start(self, handle: str) -> Address:
        what = f"start the container {handle[:12]}"
        try:
            await self._network.start(handle)
        except Refused as refused:
            raise _launch_error(what, refused) from refused
        found = await self._engine.inspect(handle)
        if found is None:
            raise LaunchError(f"cannot {what}: it was removed")
        address = self._address(found, found["Config"]["Labels"] or {})
        if address is None and not found["State"]["Running"]:
            of_memory = ", out of memory" if found["State"]["OOMKilled"] else ""
            raise LaunchError(f"cannot {what}: it ended at once with exit code {found['State']['ExitCode']}{of_memory}")
        if address is None:
            raise LaunchError(f"cannot {what}: it is not on the network {self._settings.network}")
        await self._whereabouts.inspected(found)
        return address

    def whereabouts(self, handle: str) -> Whereabouts | None:
        return self._whereabouts.get(handle)

    async def resume(self, handle: str) -> None:
        await self._engine.unpause(handle)

    async def stop(self, handle: str, stop: StopSpec) -> StopReport:
        return await stop_container(self._engine, handle, stop, kill_wait_s=self._settings.call_timeout_s)

    async def remove(self, handle: str) -> None:
        await self._engine.remove(handle)

    async def tail(self, handle: str, lines: int) -> tuple[str, ...]:
        try:
            text = await self._engine.logs(handle, lines)
        except EngineUnavailable:
            return ()
        return tuple(line[:_LINE_LENGTH] for line in text.decode(errors="replace").splitlines()[-lines:])

    def log(self, handle: str, view: LogView) -> AsyncGenerator[bytes, None]:
        return read_log(self._engine, handle, view)

    async def keep_log(self, handle: str, run: EndedRun, secrets: Collection[str]) -> None:
        try:
            async with asyncio.timeout(KEEP_TIMEOUT_S):
                found = await self._engine.inspect(handle)
        except (EngineUnavailable, TimeoutError):
            return  # Nor can it be removed now: all of this is tried again.
        if found is not None and found["State"]["Status"] != "created":
            await self._keeper.keep(run, secrets, self.log(handle, LogView(tail=_KEPT_LINES)))

    async def why_unreachable(self, handle: str, model: Model, address: Address) -> str:
        assert isinstance(model.launch, ContainerLaunch)
        return await why_unreachable(self._engine, handle, model.launch.port)

    async def watch(self, hurry: Callable[[], None]) -> None:
        def noted(event: str, handle: str) -> None:
            if event == "die":
                self._sightings.heard_to_die(handle)
            self._on_event(str(self.id), event)

        await follow_events(self._engine, self._ours, noted, hurry)


def _launch_error(what: str, refused: Refused) -> LaunchError | Refused:
    """The entry's fault, unless the engine itself is not in service."""
    return refused if refused.status == _SERVICE_UNAVAILABLE else spec.launch_failure(what, refused.reason)
