"""A real Prometheus on loopback, with the scrape example that we ship."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.ports import free_port

DEPLOY = Path(__file__).parents[1] / "deploy"
PATIENCE_S = 60.0


class Prometheus:
    """Args:
    binary: path of `prometheus`.
    folder: for its configuration and data.
    target: `host:port` to scrape in place of the example's.
    """

    def __init__(self, binary: str, folder: Path, *, target: str) -> None:
        self._folder = folder
        example = (DEPLOY / "prometheus.yml").read_text()
        assert "127.0.0.1:8738" in example
        config = example.replace("127.0.0.1:8738", target).replace(": 15s", ": 200ms")
        (folder / "prometheus.yml").write_text(config)
        (folder / "alerts.yml").write_text((DEPLOY / "alerts.yml").read_text())
        self._address = f"127.0.0.1:{free_port()}"
        self._command = (
            *(binary, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"),
            f"--web.listen-address={self._address}",
        )

    async def __aenter__(self) -> Self:
        self._log = (self._folder / "log").open("w+b")
        self._process = await asyncio.create_subprocess_exec(*self._command, stdout=self._log, stderr=self._log)
        self._session = aiohttp.ClientSession()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        if self._process.returncode is None:
            self._process.terminate()
        await self._process.wait()
        self._log.close()

    async def until(self, query: str) -> list[dict[str, Any]]:
        """Return the result of an instant query as soon as it is not empty."""
        async with asyncio.timeout(PATIENCE_S):
            while not (found := await self._ask(query)):
                assert self._process.returncode is None, (self._folder / "log").read_text()
                await asyncio.sleep(0.1)
        return found

    async def _ask(self, query: str) -> list[dict[str, Any]]:
        try:
            async with self._session.get(f"http://{self._address}/api/v1/query", params={"query": query}) as response:
                if response.status == 503:  # it is still starting
                    return []
                found: list[dict[str, Any]] = (await response.json())["data"]["result"]
                return found
        except aiohttp.ClientConnectionError:
            return []
