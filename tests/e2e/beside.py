"""A go-livepeer node (the double) as a child of a test, and what a gateway says to it."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from tests.doubles.shared.trickle_clients import trusting
from tests.e2e.daemon import PATIENCE_S, ROOT, Daemon, kill_processes
from tests.ports import free_port

SECRET = "e2e-orch-secret"
SENDER = "0x" + "ab" * 20
STREAM = {"enable_video_ingress": True, "enable_video_egress": True}

Answer = tuple[int, str]
"""Status and body."""


class NodeProcess:
    """The node. It keeps its ports over restarts; `async with` starts and ends it.

    Args:
        flags: of `python -m tests.doubles.golivepeer`.
        host: where the service port listens; orchd and gateways use 127.0.0.1 all the same.
        runners_say: host by which runners reach the node's media, if it is another one.
    """

    def __init__(self, folder: Path, *flags: str, host: str = "127.0.0.1", runners_say: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.secret_file = folder / "orch-secret"
        self.secret_file.write_text(SECRET + "\n")
        self.port, self._cli_port = free_port(), free_port()
        self.url, self.cli_url = f"https://127.0.0.1:{self.port}", f"http://127.0.0.1:{self._cli_port}"
        self.certificate = folder / "data" / "cert.pem"
        self._flags = (
            *("--service", f"{host}:{self.port}", "--service-uri", self.url),
            *("--cli", f"127.0.0.1:{self._cli_port}", "--orch-secret", SECRET),
            *("--datadir", str(folder / "data"), *flags),
            *(("--trickle-host-for-runner", f"{runners_say}:{self.port}") if runners_say else ()),
        )
        self._process: asyncio.subprocess.Process | None = None
        self._control_url = ""
        self.client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusting(), force_close=True),
            timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
        )

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()
        await self.client.close()

    async def start(self) -> None:
        """Return as soon as both its ports answer."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.doubles.golivepeer", *self._flags, "--ready-file", str(ready)),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(PATIENCE_S):
            while not ready.exists():
                assert self._process.returncode is None, (self.folder / "log").read_text()[-2000:]
                await asyncio.sleep(0.05)
        self._control_url = json.loads(ready.read_text())["control_url"]

    async def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    def settings(self, jobs_port: int) -> dict[str, str]:
        """Return the settings of an orchd beside it that has this job port."""
        return {
            "jobs.listen": f"127.0.0.1:{jobs_port}",
            "orchestrator.service_url": self.url,
            "orchestrator.cli_url": self.cli_url,
            "orchestrator.secret_file": str(self.secret_file),
            "orchestrator.callback_url": f"http://127.0.0.1:{jobs_port}",
            "orchestrator.poll_s": "0.2",
        }

    # What it knows, as a person can't see it.

    async def state(self) -> dict[str, Any]:
        async with self.client.get(f"{self._control_url}/_control") as answer:
            found: dict[str, Any] = await answer.json()
            return found

    async def capabilities(self) -> dict[str, dict[str, Any]]:
        """Return the BYOC registry: by name url, capacity, load ..."""
        found: dict[str, dict[str, Any]] = (await self.state())["capabilities"]
        return found

    async def fault(self, action: str, **how: object) -> None:
        """Use a switch of its control port; see `tests/doubles/golivepeer/faults.py`."""
        query = {name: str(value) for name, value in how.items()}
        async with self.client.post(f"{self._control_url}/_control/{action}", params=query) as answer:
            assert answer.status == 200

    # What a gateway says.

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        async with self.client.request(
            method, path if path.startswith("https:") else self.url + path, **options
        ) as got:
            return got.status, await got.text()

    async def runners(self) -> dict[str, dict[str, Any]]:
        """Return what Live Runner's discovery lists, by app."""
        _, text = await self.call("GET", "/discovery")
        return {runner["app"]: runner for runner in json.loads(text)[0].get("runners", [])}

    async def job(self, name: str, path: str = "", body: str = "{}", **headers: str) -> Answer:
        """Have a BYOC job done; `path` is what the worker's URL gets behind it."""
        sent = job_headers(name, f"job-{secrets.token_hex(4)}") | {"Content-Type": "application/json"} | headers
        return await self.call("POST", f"/process/request/{path}", data=body, headers=sent)

    async def start_stream(self, name: str, stream: str, **body: Any) -> tuple[int, str, Media]:
        """Start a BYOC stream; the media URLs are empty if the node gave none."""
        headers = job_headers(name, stream, STREAM) | {"Content-Type": "application/json"}
        async with self.client.post(f"{self.url}/ai/stream/start", json=body, headers=headers) as got:
            given = got.headers
            media = Media(given.get("X-Publish-Url", ""), given.get("X-Subscribe-Url", ""))
            return got.status, await got.text(), media

    async def stop_stream(self, name: str, stream: str) -> Answer:
        return await self.call("POST", "/ai/stream/stop", json={}, headers=job_headers(name, stream))

    async def update_stream(self, name: str, stream: str, **params: Any) -> Answer:
        return await self.call("POST", "/ai/stream/update", json=params, headers=job_headers(name, stream))


@dataclass(frozen=True)
class Media:
    """Trickle channels, from the gateway's side: it publishes the input and subscribes to the output."""

    publish_url: str
    subscribe_url: str


def job_headers(name: str, job: str, parameters: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the header that bears a job; off-chain nobody checks its signature. Source: byoc.md 5.1."""
    said = {
        "id": job,
        "request": json.dumps({"stream_id": job}),
        "parameters": json.dumps(parameters or {}),
        "capability": name,
        "sender": SENDER,
        "sig": "0x" + "00" * 65,
        "timeout_seconds": 60,
    }
    return {"Livepeer": base64.b64encode(json.dumps(said).encode()).decode()}


@asynccontextmanager
async def orchd_beside(
    node: NodeProcess, folder: Path, instance: str, *entries: dict[str, Any], docker: bool = False, **settings: str
) -> AsyncIterator[Daemon]:
    """Run orchd beside a node; its processes end with it.

    Args:
        settings: have `__` for the dot in their names.
    """
    port = free_port()
    given = {name.replace("__", "."): value for name, value in settings.items()}
    daemon = Daemon(folder, instance, docker=docker, settings=node.settings(port) | given)
    daemon.jobs_port = port
    daemon.write(*entries)
    try:
        async with daemon:
            yield daemon
    finally:
        if daemon.process is not None:
            await daemon.kill()
        kill_processes(instance)
