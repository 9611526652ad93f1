"""Daemons of a test's own; whatever they made, in Docker or as processes, goes when the test ends, however it ends."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.docker_images import runner_image
from tests.e2e.daemon import Daemon, kill_processes

Start = Callable[..., Daemon]
"""Makes a daemon, not yet started: (name of its folder, settings and other arguments of `Daemon`)."""


@pytest.fixture
def instance() -> Iterator[str]:
    """An instance of the test's own; its processes are killed at the end if a daemon left some."""
    name = f"t-e2e-{secrets.token_hex(4)}"
    yield name
    kill_processes(name)


@pytest.fixture
async def make(tmp_path: Path, instance: str) -> AsyncIterator[Start]:
    """Make daemons on the process runtime alone."""
    made: list[Daemon] = []

    def one(name: str = "orchd", **options: Any) -> Daemon:
        daemon = Daemon(tmp_path / name, options.pop("instance", instance), **options)
        made.append(daemon)
        return daemon

    yield one
    for daemon in made:
        if daemon.process is not None:
            await daemon.kill()
            await daemon.end()


@pytest.fixture(scope="session")
def api() -> Iterator[docker.APIClient]:
    """The engine as a person with `docker` sees it."""
    with docker.APIClient(version="auto") as client:
        yield client


@pytest.fixture(scope="session")
def network(api: docker.APIClient) -> Iterator[str]:
    """One network for all tests: making it takes longer than anything else."""
    name = f"t-e2e-{secrets.token_hex(4)}"
    api.create_network(name, driver="bridge")
    yield name
    api.remove_network(name)


@pytest.fixture
def docked(api: docker.APIClient, network: str, instance: str, make: Start) -> Iterator[Start]:
    """Make daemons on Docker Engine; with `instance=` another one, whose name must begin with the test's."""
    runner_image()

    def one(name: str = "orchd", **options: Any) -> Daemon:
        settings = {"docker.network": network, **options.pop("settings", {})}
        return make(name, docker=True, settings=settings, **options)

    yield one
    for found in api.containers(all=True, filters={"label": "orchd.instance"}):
        if found["Labels"]["orchd.instance"].startswith(instance):
            with contextlib.suppress(docker.errors.APIError):  # It is gone, or being removed.
                api.remove_container(found["Id"], v=True, force=True)
    for volume in api.volumes(filters={"label": "orchd.instance"})["Volumes"] or ():
        if volume["Labels"]["orchd.instance"].startswith(instance):
            api.remove_volume(volume["Name"])
