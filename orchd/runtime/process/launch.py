"""From a `ProcessLaunch` to a child process: its environment, its program, its port."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Set
from pathlib import Path

from orchd.domain.model import ProcessLaunch
from orchd.errors import LaunchError
from orchd.limits import give_back_open_files

INHERITED = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
INHERITED_PREFIXES = ("CUDA_", "NVIDIA_")


def environment_of(launch: ProcessLaunch) -> dict[str, str]:
    """Of our own environment only what a program needs to run: never our secrets, nor systemd's sockets."""
    own = {k: v for k, v in os.environ.items() if k in INHERITED or k.startswith(INHERITED_PREFIXES)}
    return own | {"HOST": "127.0.0.1"} | dict(launch.env)


def check(launch: ProcessLaunch) -> None:
    """Find the program as exec will: beside `cwd` if its name has a slash, else on the PATH that the runner gets."""
    program = launch.argv[0]
    if not Path(launch.cwd).is_dir():
        raise LaunchError(f"cannot run {program!r}: its folder {launch.cwd} does not exist")
    if "/" not in program:
        path = environment_of(launch).get("PATH", os.defpath)
        if shutil.which(program, path=path) is None:
            raise LaunchError(f"cannot run {program!r}: no such program on PATH ({path}); give its full path")
    elif not (file := Path(launch.cwd, program)).is_file():
        raise LaunchError(f"cannot run {program!r}: there is no file {file}")
    elif not os.access(file, os.X_OK):
        raise LaunchError(f"cannot run {program!r}: {file} is not executable; chmod +x it or put its interpreter first")


def free_port(taken: Set[int]) -> int:
    """Return a loopback port that nobody has now, and none of `taken`, whose runners may not have opened theirs yet."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        if port not in taken:
            return port


def spawn(argv: list[str], cwd: str, environment: dict[str, str], output: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start a child that leads a session of its own, and return it with its pidfd.

    Raises:
        OSError: nothing runs.
    """
    child = subprocess.Popen(  # noqa: S603 - the operator's own command
        argv,
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )
    give_back_open_files(child.pid)
    try:
        return child, os.pidfd_open(child.pid)
    except OSError:
        child.kill()
        child.wait()
        raise


def silent_disk(launch: ProcessLaunch) -> str:
    """Return what to say if the start takes so long that a disk must be hanging."""
    return (
        f"cannot start {launch.argv[0]!r} in {launch.cwd}: the disk or mount with its program, its folder or orchd's "
        "logs does not answer"
    )
