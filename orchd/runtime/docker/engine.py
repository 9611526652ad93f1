"""Docker Engine over the `docker` package: the only file, with `client`, that knows it.

The package blocks, so each call runs on one of a few threads, and is given up after `docker.call_timeout_s`.
What comes in and goes out are plain values; what goes wrong is one of ours. Long answers (events, pulls) have
threads and connections of their own, which can be cut: a blocked read ends at once when its socket is shut down.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import docker
from docker.utils import parse_host, parse_repository_tag

from orchd.errors import EngineUnavailable
from orchd.runtime.docker.client import ClientCut, Refused, new_client, open_log, silent, translated
from orchd.threads import DaemonThreads

T = TypeVar("T")
M = TypeVar("M")
Json = dict[str, Any]

CALLS, PULLS, STREAMS = 8, 4, 2
LOGS = 64
"""Logs of containers that are read at the same time."""


def _bears(made: Json, labels: Mapping[str, str]) -> bool:
    """Whether some orchd has made it."""
    return labels.keys() <= (made["Labels"] or {}).keys()


def _inspect_network(client: docker.APIClient, id: str) -> Json:
    found: Json = client.inspect_network(id)
    return found


class Engine:
    """A connection to one Docker Engine: the one that DOCKER_HOST names, else the local socket.

    Every method raises `EngineUnavailable` where the engine can't be reached or is silent, and `Refused` where it
    says no.
    """

    def __init__(self, call_timeout_s: float) -> None:
        self._environment = {name: value for name, value in os.environ.items() if name.startswith("DOCKER_")}
        self.where = self._environment.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        self._timeout_s = call_timeout_s
        self._client: docker.APIClient | None = None
        self._calls = DaemonThreads("docker-call", CALLS)
        self._pulls = DaemonThreads("docker-pull", PULLS)
        self._streams = DaemonThreads("docker-events", STREAMS)
        self._logs = DaemonThreads("docker-log", LOGS)

    @property
    def local(self) -> bool:
        """The engine is reached over a unix socket."""
        return self.where.startswith(("unix:", "http+unix:", "/"))

    async def connect(self) -> None:
        """Ask the engine for its version, on a fresh connection."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._client = await self._guarded(lambda: self._new_client("auto"))

    async def close(self) -> None:
        """Let go of connections and threads; what still runs on them ends by its own time limit."""
        for threads in (self._calls, self._pulls, self._streams, self._logs):
            threads.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _new_client(self, version: str) -> docker.APIClient:
        if self.local:
            # The package's own error for a missing socket is a riddle, and leaves a descriptor open.
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(self._timeout_s)
                door.connect(str(parse_host(self.where)).removeprefix("http+unix://"))
        return new_client(version, self._timeout_s, self._environment)

    async def _guarded(self, work: Callable[[], T]) -> T:
        def guarded() -> T:
            with translated(self.where):
                return work()

        try:
            return await self._calls.run(guarded, self._timeout_s)
        except TimeoutError as exc:
            raise EngineUnavailable(silent(self.where)) from exc

    async def _call(self, work: Callable[[docker.APIClient], T]) -> T:
        client = self._client
        if client is None:
            raise EngineUnavailable(f"cannot use Docker Engine at {self.where}: not connected")
        return await self._guarded(lambda: work(client))

    async def info(self) -> Json:
        """As `docker info`."""
        return await self._call(lambda client: client.info())

    # Containers. `which` is an id or a name.

    async def containers(self, label: str) -> list[Json]:
        """Return the list entries of all containers with `label` (`name` or `name=value`), running or not."""
        found = await self._call(lambda client: client.containers(all=True, filters={"label": label}))
        return list(found)

    async def inspect(self, which: str) -> Json | None:
        """As `docker inspect`; None = no such container."""
        return await self._or_none(lambda client: client.inspect_container(which))

    async def create(self, name: str, body: Mapping[str, Any]) -> str:
        """Create a container and return its id; the engine checks the arguments."""
        made = await self._call(lambda client: client.create_container_from_config(dict(body), name))  # type: ignore[no-untyped-call]
        return str(made["Id"])

    async def start(self, which: str) -> None:
        """Fine if it runs already."""
        await self._call(lambda client: client.start(which))

    async def kill(self, which: str, signal: str) -> None:
        """Send `signal`; `Refused` 409 if it does not run."""
        await self._call(lambda client: client.kill(which, signal))

    async def unpause(self, which: str) -> None:
        """Fine if it is not paused, or gone."""
        await self._ignoring((404, 409, 500), lambda client: client.unpause(which))

    async def remove(self, which: str) -> None:
        """Kill and remove it with its anonymous volumes. Fine if it is gone or going."""
        await self._ignoring((404, 409), lambda client: client.remove_container(which, v=True, force=True))

    async def logs(self, which: str, lines: int) -> bytes:
        """Return its last lines, standard output and error as they came."""
        return await self._call(lambda client: client.logs(which, tail=lines))

    async def output_of(self, which: str, argv: Sequence[str]) -> bytes:
        """Run a command inside a running container and return what it prints; `Refused` if it has no such command."""

        def run(client: docker.APIClient) -> bytes:
            made = client.exec_create(which, list(argv), stderr=False)
            return bytes(client.exec_start(made["Id"]))

        return await self._call(run)

    # Images, networks, volumes.

    async def has_image(self, image: str) -> bool:
        """The engine holds `image`."""
        return await self._or_none(lambda client: client.inspect_image(image)) is not None  # type: ignore[no-untyped-call]

    async def has_command(self, image: str) -> bool:
        """Whether `image` says itself what is run in it; false too if it is gone."""
        found = await self._or_none(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
        config = (found or {}).get("Config") or {}
        return bool(config.get("Entrypoint") or config.get("Cmd"))

    async def digests(self, image: str) -> tuple[str, ...]:
        """Return under which digests registries have `image` (`name@sha256:...`); none if it is gone or built here."""
        found = await self._or_none(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
        return tuple((found or {}).get("RepoDigests") or ())

    async def exposed_ports(self, image: str) -> tuple[int, ...]:
        """Return the TCP ports that `image` EXPOSEs; none if it is gone."""
        found = await self._or_none(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
        names = ((found or {}).get("Config") or {}).get("ExposedPorts") or {}
        ports = (name.partition("/") for name in names)
        return tuple(sorted(int(port) for port, _, kind in ports if port.isdecimal() and kind in ("", "tcp")))

    async def ensure_network(self, name: str, labels: dict[str, str]) -> bool:
        """Create the bridge network `name` if there is none; return whether anything was done.

        The engine makes several of one name if it is asked at the same time, and then refuses to use any. Of those one
        stays: the same for everybody who looks, so that daemons that share a network don't undo each other's.
        """
        there = await self._networks(name, labels)
        made = not there
        if made:
            await self._ignoring(
                (409,), lambda client: client.create_network(name, driver="bridge", check_duplicate=True, labels=labels)
            )
            there = await self._networks(name, labels)
        surplus = [each for each in there[1:] if _bears(each, labels)]
        for each in surplus:
            await self._remove_network(each["Id"])
        return made or bool(surplus)

    async def _networks(self, name: str, labels: Mapping[str, str]) -> list[Json]:
        """Return the networks of exactly this name: first those without our labels, those in use, and the oldest."""
        found = [each for each in await self._call(lambda client: client.networks([name])) if each["Name"] == name]
        if len(found) < 2:
            return found
        whole = [await self._or_none(partial(_inspect_network, id=each["Id"])) for each in found]
        return sorted(
            filter(None, whole),
            key=lambda each: (_bears(each, labels), not each["Containers"], each["Created"], each["Id"]),
        )

    async def gateway(self, name: str) -> str:
        """Return the host's address on the network `name`; empty = it has none."""
        for network in await self._networks(name, {}):
            for config in (network.get("IPAM") or {}).get("Config") or ():
                if gateway := config.get("Gateway"):
                    return str(gateway).partition("/")[0]
        return ""

    async def _remove_network(self, id: str) -> None:
        """Fine if it is gone, or in use after all."""
        await self._ignoring((403, 404, 409), lambda client: client.remove_network(id))

    async def volumes(self, label: str) -> list[Json]:
        """Return all volumes with `label`."""
        found = await self._call(lambda client: client.volumes(filters={"label": label}))
        return list(found["Volumes"] or ())

    async def create_volume(self, name: str, labels: dict[str, str]) -> None:
        """Create the volume; one that exists stays as it is, labels included: the engine tests and sets in one step."""
        await self._call(lambda client: client.create_volume(name, labels=labels))

    async def remove_volume(self, name: str) -> None:
        """Fine if it is gone."""
        await self._ignoring((404,), lambda client: client.remove_volume(name))

    async def _or_none(self, work: Callable[[docker.APIClient], T]) -> T | None:
        try:
            return await self._call(work)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def _ignoring(self, statuses: Sequence[int], work: Callable[[docker.APIClient], object]) -> None:
        try:
            await self._call(work)
        except Refused as refused:
            if refused.status not in statuses:
                raise

    # Long answers.

    async def pull(self, image: str, take: Callable[[Json], None], auth: Mapping[str, str]) -> None:
        """Pull `image`; `take` gets each message, **on the pulling thread**. `auth`: for its registry; empty = none.

        Cancelled, the connection is cut, on which the engine gives the pull up.
        """
        repository, tag = parse_repository_tag(image)

        def messages(client: docker.APIClient) -> Iterator[Json]:
            found: Iterator[Json] = client.pull(
                repository, tag or "latest", stream=True, decode=True, auth_config=dict(auth)
            )
            return found

        await self._read(self._pulls, messages, take)

    async def events(self, label: str, names: Sequence[str], take: Callable[[Json], None]) -> None:
        """Give `take` each event of containers with `label`, **on the reading thread**, until the stream ends."""
        filters = {"type": "container", "label": label, "event": list(names)}
        await self._read(self._streams, lambda client: client.events(filters=filters, decode=True), take)

    async def read_log(self, which: str, params: Mapping[str, str | int], take: Callable[[bytes], bool]) -> None:
        """Give `take` what the engine sends of a container's log, **on a reading thread**, until that ends.

        Args:
            params: of the API's `/containers/WHICH/logs`.
            take: may block; the engine then waits. Returns whether it wants more.
        """

        def chunks(client: docker.APIClient) -> Iterator[bytes]:
            return open_log(client, which, params, self._timeout_s)

        def take_all(chunk: bytes) -> None:
            if not take(chunk):
                raise EngineUnavailable("cannot pass the log on: nobody reads it any more")

        await self._read(self._logs, chunks, take_all)

    async def _read(
        self,
        threads: DaemonThreads,
        open_: Callable[[docker.APIClient], Iterator[M]],
        take: Callable[[M], None],
    ) -> None:
        if self._client is None:
            raise EngineUnavailable(f"cannot use Docker Engine at {self.where}: not connected")
        version = self._client.api_version
        cut = ClientCut()

        def work() -> None:
            with (
                translated(self.where),
                contextlib.closing(cut),
                contextlib.closing(self._new_client(version)) as client,
            ):
                cut.watch(client)
                for message in open_(client):
                    if cut.done:
                        return
                    take(message)

        try:
            await threads.run(work)
        finally:
            cut.cut()
