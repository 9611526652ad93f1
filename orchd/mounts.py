"""What is mounted where for this process, and whether it sees the host's files. Source: proc_pid_mountinfo(5)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_ESCAPED = re.compile(r"\\([0-7]{3})")
_CONTAINER_MARKS = ("/.dockerenv", "/run/.containerenv")
_HOMES = ("/home", "/root", "/run/user")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount.

    Attributes:
        root: the part of the file system that is mounted; `/` = all of it.
        point: the mount point.
        kind: of the file system, such as `ext4`.
    """

    root: str
    point: str
    kind: str


def mounts_in(mountinfo: str) -> tuple[Mount, ...]:
    """Return the mounts in the text of `/proc/self/mountinfo`, in its order."""
    found = []
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if dash and len(fields) >= 5:
            root, point = (_ESCAPED.sub(lambda code: chr(int(code[1], 8)), each) for each in fields[3:5])
            found.append(Mount(root, point, after.partition(" ")[0]))
    return tuple(found)


def read_mounts() -> tuple[Mount, ...]:
    """Return the mounts of this process; none if the system does not say."""
    try:
        return mounts_in(Path("/proc/self/mountinfo").read_text())
    except OSError:
        return ()


def is_mount_point(path: str, mounts: Iterable[Mount]) -> bool:
    """Return whether something is mounted at `path` itself, which is absolute and without symlinks."""
    return any(mount.point == path for mount in mounts)


def is_private(path: str, mounts: Iterable[Mount]) -> bool:
    """Return whether systemd shows this process something else at `path` than the host has there.

    Such are PrivateTmp=, InaccessiblePaths= and ProtectHome=.
    """
    over = [mount for mount in mounts if path == mount.point or path.startswith(mount.point.rstrip("/") + "/")]
    mount = max(over, key=lambda each: len(each.point), default=None)
    return mount is not None and (
        "systemd-private-" in mount.root
        or "/systemd/inaccessible/" in mount.root
        or (mount.kind == "tmpfs" and mount.point in _HOMES)
    )


def in_container(marks: Iterable[str] = _CONTAINER_MARKS) -> bool:
    """Return whether this process runs in a container, as Docker and Podman mark them; its files are then its own."""
    return any(Path(mark).exists() for mark in marks)
