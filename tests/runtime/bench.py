"""What tests of the Docker runtime have at hand."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import docker
from docker.errors import NotFound

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import (
    ContainerLaunch,
    HealthSpec,
    InferenceSpec,
    MetricsSpec,
    Model,
    StopSpec,
    StreamSpec,
)
from orchd.runtime.docker.runtime import DockerRuntime
from orchd.runtime.docker.settings import DockerSettings
from tests.runners.local import BOUND_S


@dataclass
class Bench:
    """What a test of the runtime needs at hand.

    Attributes:
        runtime: open. `fresh` makes another one of the same instance, as after a restart of orchd.
    """

    client: docker.APIClient
    instance: str
    settings: DockerSettings
    image: str
    runtime: DockerRuntime
    fresh: Callable[..., DockerRuntime]

    def model(self, name: str = "org/model", **launch: Any) -> Model:
        return model(ContainerLaunch(**{"image": self.image, "pull": "never", **launch}), name)

    async def prepare(self, wanted: Model, replica: int = 0) -> str:
        return await self.runtime.prepare(wanted, runner_of(wanted, replica), lambda line: None)

    async def launch(self, wanted: Model, replica: int = 0) -> str:
        """Prepare, start, and wait until it answers; return its handle."""
        handle = await self.prepare(wanted, replica)
        address = await self.runtime.start(handle)
        await answers(address.host, address.port)
        return handle

    def inspect(self, handle: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.inspect_container(handle)
        return found

    def exists(self, handle: str) -> bool:
        try:
            self.client.inspect_container(handle)
        except NotFound:
            return False
        return True


def model(launch: ContainerLaunch, name: str = "org/model") -> Model:
    return Model(
        key=ModelKey("text-to-image", name),
        launch=launch,
        profile="byoc",
        health=HealthSpec(),
        stream=StreamSpec(),
        inference=InferenceSpec("/text-to-image"),
        metrics=MetricsSpec(),
        stop=StopSpec(),
    )


def runner_of(wanted: Model, replica: int = 0) -> RunnerId:
    return RunnerId(wanted.key, replica, wanted.generation)


async def answers(host: str, port: int) -> None:
    """Wait until a GET of its health is answered (Docker's own proxy takes connections before the runner does)."""
    async with asyncio.timeout(BOUND_S):
        while True:
            with contextlib.suppress(OSError):
                reader, writer = await asyncio.open_connection(host, port)
                with contextlib.closing(writer):
                    writer.write(b"GET /health HTTP/1.1\r\nHost: runner\r\nConnection: close\r\n\r\n")
                    if (await reader.read()).startswith(b"HTTP/1.1 200"):
                        return
            await asyncio.sleep(0.05)


async def eventually(condition: Callable[[], bool], limit_s: float = BOUND_S) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - it is the engine's, which sets no event
            await asyncio.sleep(0.02)
