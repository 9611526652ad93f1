"""Fixtures for tests on a real Docker Engine. Whatever a test makes there goes when it ends."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import docker
import pytest

from orchd.runtime.docker.runtime import DockerRuntime
from orchd.runtime.docker.settings import DockerSettings
from tests.docker_images import runner_image
from tests.runtime.bench import Bench


@pytest.fixture(scope="session")
def client() -> Iterator[docker.APIClient]:
    """The engine as a person with `docker` sees it."""
    with docker.APIClient(version="auto") as api:
        yield api


@pytest.fixture(scope="session")
def image() -> str:
    return runner_image()


@pytest.fixture(scope="session")
def network(client: docker.APIClient) -> Iterator[str]:
    """A shared network, made before orchd comes: it uses it as it is."""
    name = f"t-runtime-{secrets.token_hex(4)}"
    client.create_network(name, driver="bridge")
    yield name
    client.remove_network(name)


@pytest.fixture
def instance(client: docker.APIClient) -> Iterator[str]:
    """An instance of its own; its containers, claims and networks are removed at the end."""
    name = f"t-{secrets.token_hex(5)}"
    yield name
    mine = {"label": f"orchd.instance={name}"}
    for container in client.containers(all=True, filters=mine):
        client.remove_container(container["Id"], v=True, force=True)
    for volume in client.volumes(filters=mine)["Volumes"] or ():
        client.remove_volume(volume["Name"])
    for made in client.networks(filters=mine):
        client.remove_network(made["Id"])


@pytest.fixture
async def bench(client: docker.APIClient, instance: str, network: str, image: str) -> AsyncIterator[Bench]:
    settings = DockerSettings(network=network)
    made: list[DockerRuntime] = []

    def fresh(**changes: Any) -> DockerRuntime:
        runtime = DockerRuntime(settings.model_copy(update=changes), instance=instance, state_dir="/var/lib/t-orchd")
        made.append(runtime)
        return runtime

    runtime = fresh()
    await runtime.open()
    yield Bench(client, instance, settings, image, runtime, fresh)
    for each in made:
        await each.close()
