"""What a container is given of the host's files. Pure.

Volumes are asked for as mounts, not as binds: for a bind whose path is missing, Docker makes an empty folder that
belongs to root, and the model starts without its files.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from orchd.errors import Code, LaunchError

_PROPAGATION = ("shared", "rshared", "slave", "rslave", "private", "rprivate")
_CONSISTENCY = ("consistent", "cached", "delegated")
_RELABEL = ("z", "Z")
_NO_SOURCE = re.compile(r"bind source path does not exist:? ?(\S.*)?")


def volume_spec(volumes: Iterable[str], host_path: Callable[[str], str]) -> dict[str, Any]:
    """Return the `Mounts` and `Binds` of a container's HostConfig.

    Args:
        volumes: `host:container[:options]`, as Docker's `-v`.
        host_path: turns the path of one into the engine's.
    """
    mounts, binds = [], []
    for volume in volumes:
        source, target, *rest = volume.split(":") if ":" in volume else ["", volume]  # the latter: a new volume
        options = rest[0].split(",") if rest else []
        is_path = source.startswith("/")
        source = host_path(source) if is_path else source
        if any(option in _RELABEL for option in options):
            binds.append(":".join([source, target, *rest]))  # only a bind can ask for an SELinux label
            continue
        mount: dict[str, Any] = {
            "Type": "bind" if is_path else "volume",
            "Source": source,
            "Target": target,
            "ReadOnly": "ro" in options,
        }
        if is_path and (propagation := [option for option in options if option in _PROPAGATION]):
            mount["BindOptions"] = {"Propagation": propagation[0]}
        if not is_path and "nocopy" in options:
            mount["VolumeOptions"] = {"NoCopy": True}
        if consistency := [option for option in options if option in _CONSISTENCY]:
            mount["Consistency"] = consistency[0]
        mounts.append(mount)
    return {"Mounts": mounts, "Binds": binds}


def host_path(path: str, folder: str, own_mounts: Sequence[Mapping[str, Any]]) -> str:
    """Return where the engine's host has a path, for an orchd that runs in a container.

    A path in the folder of the models file is one that orchd sees; any other is the host's already.

    Args:
        folder: of the models file, as orchd sees it.
        own_mounts: `Mounts` of the inspection of orchd's own container.

    Raises:
        LaunchError: the path lies inside that container, where the engine can't find it.
    """
    if not _is_in(path, folder):
        return path
    over = [mount for mount in own_mounts if mount.get("Source") and _is_in(path, mount["Destination"])]
    if not over:
        raise LaunchError(
            f"cannot mount {path}: orchd runs in a container, and this path lies inside that; mount the folder from "
            f"the host (docker run --volume /srv/orchd:{folder}), or write the host's path in `volumes`",
            code=Code.VOLUME_MISSING,
        )
    mount = max(over, key=lambda each: len(each["Destination"]))
    return posixpath.normpath(posixpath.join(mount["Source"], posixpath.relpath(path, mount["Destination"])))


def missing_source(what: str, reason: str) -> LaunchError | None:
    """Return the error for a path that the engine's host lacks, from the engine's own words; None = it is not that."""
    found = _NO_SOURCE.search(reason)
    if found is None:
        return None
    path = (found[1] or "").strip()
    make = f": mkdir -p {shlex.quote(path)}" if path else ""
    return LaunchError(
        f"cannot {what}: the host has no {path or 'such path as its `volumes` name'}; make it{make}",
        code=Code.VOLUME_MISSING,
    )


def _is_in(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")
