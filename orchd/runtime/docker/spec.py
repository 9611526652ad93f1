"""What a container of ours is called, labelled and made of. Pure.

The body is that of `POST /containers/create` of the Docker Engine API, v1.40 and later, which is also what
`docker inspect` shows; the labels are enough to find the runner again after a kill of orchd.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import ContainerLaunch
from orchd.errors import Code, LaunchError
from orchd.runtime.docker.settings import DockerSettings
from orchd.runtime.docker.volumes import missing_source, volume_spec

INSTANCE = "orchd.instance"
PIPELINE = "orchd.pipeline"
MODEL_ID = "orchd.model_id"
REPLICA = "orchd.replica"
GENERATION = "orchd.generation"
PORT = "orchd.port"
GPU_IDS = "orchd.gpu_ids"

ALL_GPUS = "all"
"""Stands for every GPU in the label `orchd.gpu_ids`."""


def container_name(instance: str, runner: RunnerId) -> str:
    """At most 99 characters of `[a-z0-9-]`, different for different runners of an engine."""
    return f"{instance}-{runner.name}"


def network_alias(runner: RunnerId) -> str:
    """A host name (one DNS label, at most 63 characters) of this replica, whatever its generation."""
    return f"{runner.key.slug}-{runner.replica}"


def labels(instance: str, runner: RunnerId, launch: ContainerLaunch, gpu_ids: Sequence[str]) -> dict[str, str]:
    """The entry's own labels and ours; ours win."""
    return {
        **dict(launch.labels),
        INSTANCE: instance,
        PIPELINE: runner.key.pipeline,
        MODEL_ID: runner.key.model_id,
        REPLICA: str(runner.replica),
        GENERATION: runner.generation,
        PORT: str(launch.port),
        GPU_IDS: ",".join(gpu_ids),
    }


def runner_of(name: str, found: Mapping[str, str]) -> RunnerId | None:
    """Return the runner that a container's labels tell, or None if it is not one of ours.

    The name must fit too: labels are inherited by an image that somebody commits from one of our containers.
    """
    try:
        key = ModelKey(found[PIPELINE], found[MODEL_ID])
        runner = RunnerId(key, int(found[REPLICA]), found[GENERATION])
    except (KeyError, ValueError):
        return None
    ours = name == container_name(found.get(INSTANCE, ""), runner)
    return runner if ours and port_of(found) is not None else None


def port_of(found: Mapping[str, str]) -> int | None:
    """Read the label `orchd.port`; None = it is no port."""
    text = found.get(PORT, "")
    port = int(text) if re.fullmatch(r"[0-9]{1,5}", text) else 0
    return port if 0 < port < 65536 else None


def own_name(names: Sequence[str]) -> str:
    """Return a container's own name of those in a list entry: one that is linked to it adds `/ITS-NAME/ALIAS`."""
    return next((own for name in names if "/" not in (own := name.removeprefix("/"))), "")


def same_replica(found: Mapping[str, str], runner: RunnerId) -> bool:
    """Return whether labels tell of the runner's replica, of whichever generation."""
    told = (found.get(PIPELINE), found.get(MODEL_ID), found.get(REPLICA))
    return told == (runner.key.pipeline, runner.key.model_id, str(runner.replica))


def gpu_ids_of(found: Mapping[str, str]) -> tuple[str, ...]:
    """Read the label `orchd.gpu_ids`."""
    return tuple(filter(None, found.get(GPU_IDS, "").split(",")))


def choose_gpus(count: int, gpus: Sequence[tuple[str, ...]], taken: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the ids of the `count` GPUs that the fewest runners hold, in the order of `gpus`.

    Docker's own count always takes the first ones.

    Args:
        gpus: each GPU by all its names, the one to ask Docker with first.
        taken: for each runner the names of what it holds.

    Raises:
        LaunchError: there are fewer.
    """
    if count > len(gpus):
        raise LaunchError(
            f"cannot give the container {count} GPUs: there are {len(gpus)}; lower `gpus`",
            code=Code.GPU_UNAVAILABLE,
        )
    holders = Counter(name for names in taken for name in names)
    load = [holders[ALL_GPUS] + sum(holders[name] for name in names) for names in gpus]
    least = sorted(range(len(gpus)), key=lambda index: (load[index], index))[:count]
    return tuple(gpus[index][0] for index in sorted(least))


def create_body(
    instance: str,
    runner: RunnerId,
    launch: ContainerLaunch,
    settings: DockerSettings,
    *,
    gpu_ids: Sequence[str],
    publish: bool,
    host_path: Callable[[str], str] = str,
) -> dict[str, Any]:
    """Return the body that creates the runner's container.

    Args:
        gpu_ids: what the entry's request was resolved to, or `ALL_GPUS` alone; empty = none.
        publish: make the port reachable on 127.0.0.1, at a port that Docker picks; else no host port at all.
        host_path: turns the path of a volume into the engine's.
    """
    port = f"{launch.port}/tcp"
    host: dict[str, Any] = {
        "NetworkMode": settings.network,
        "RestartPolicy": {"Name": "no"},
        "ExtraHosts": ["host.docker.internal:host-gateway"],
        "SecurityOpt": ["no-new-privileges"],
        "CapDrop": ["ALL"],
        "CapAdd": list(launch.cap_add),
        "PidsLimit": settings.pids_limit,
        "LogConfig": {
            "Type": "json-file",
            "Config": {"max-size": f"{settings.log_max_mb}m", "max-file": str(settings.log_files)},
        },
        **volume_spec(launch.volumes, host_path),
        "Init": launch.init,
    }
    if launch.memory_bytes is not None:
        # Without the second one Docker lets a container swap as much again.
        host |= {"Memory": launch.memory_bytes, "MemorySwap": launch.memory_bytes}
    if launch.shm_bytes is not None:
        host["ShmSize"] = launch.shm_bytes
    if launch.cpus is not None:
        host["NanoCpus"] = round(launch.cpus * 1_000_000_000)
    if publish:
        host["PortBindings"] = {port: [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    if gpu_ids:
        which: dict[str, Any] = {"Count": -1} if ALL_GPUS in gpu_ids else {"DeviceIDs": list(gpu_ids)}
        host["DeviceRequests"] = [{"Driver": "nvidia", "Capabilities": [["gpu"]], **which}]
    body: dict[str, Any] = {
        "Image": launch.image,
        "Env": [f"{name}={value}" for name, value in launch.env],
        "Labels": labels(instance, runner, launch, gpu_ids),
        "StopSignal": launch.stop_signal,
        "ExposedPorts": {port: {}},
        "HostConfig": host,
        "NetworkingConfig": {"EndpointsConfig": {settings.network: {"Aliases": [network_alias(runner)]}}},
    }
    if launch.entrypoint is not None:
        body["Entrypoint"] = list(launch.entrypoint)
    if launch.args:
        body["Cmd"] = list(launch.args)
    if launch.user is not None:
        body["User"] = launch.user
    return body


def launch_failure(what: str, reason: str) -> LaunchError:
    """Return why the engine refuses to create or start a container, from its own words.

    Args:
        what: such as `create the container of text-to-image/org/name`.
    """
    if missing := missing_source(what, reason):
        return missing
    lower = reason.lower()
    if "device driver" in lower or "nvidia" in lower or "cdi device" in lower:
        return LaunchError(
            f"cannot {what}: Docker can't give it a GPU; are the NVIDIA driver and nvidia-container-toolkit "
            f"installed? (Docker says: {reason})",
            code=Code.GPU_UNAVAILABLE,
        )
    if "unable to start container process" in lower:
        return LaunchError(
            f"cannot {what}: its program can't be run; check `entrypoint`, `args` and `user` (Docker says: {reason})"
        )
    if "no such image" in lower:
        return LaunchError(f"cannot {what}: its image is gone (Docker says: {reason})", code=Code.IMAGE_UNAVAILABLE)
    return LaunchError(f"cannot {what}: Docker says: {reason}")
