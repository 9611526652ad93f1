"""A node (one of the doubles) as a child of a test, and what a gateway says to it."""

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


@dataclass(frozen=True)
class Program:
    """A node program in one version.

    Attributes:
        double: the folder in `tests/doubles` that stands in for it.
        flags: what is said to it besides its addresses and its secret.
    """

    double: str
    version: str
    scheme: str
    flags: tuple[str, ...] = ()


LIVE_RUNNERS = "--use-live-runners"
GO_LIVEPEER = Program("golivepeer", "0.9.x", "https")
GO_LIVEPEER_0_9 = Program("golivepeer", "0.9.x", "https", (LIVE_RUNNERS,))
GO_LIVEPEER_0_10 = Program("golivepeer", "0.10.0", "https", (LIVE_RUNNERS,))
LIVEPEER_NODE = Program(
    "livepeer_node", "1.0.10", "http", ("--runner-grants", "127.0.0.1", "--session-proxy-grants", "127.0.0.1")
)


class NodeProcess:
    """The node. It keeps its ports over restarts; `async with` starts and ends it.

    Args:
        flags: of `python -m tests.doubles.DOUBLE`, besides the program's own.
        host: where the service port listens; orchd and gateways use 127.0.0.1 all the same.
        runners_say: host by which runners reach the node's media, if it is another one.

    Attributes:
        program: what runs here; another one may be set between `kill` and `start`.
        flags: likewise.
    """

    def __init__(
        self,
        folder: Path,
        *flags: str,
        program: Program = GO_LIVEPEER,
        host: str = "127.0.0.1",
        runners_say: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.program, self.flags = folder, program, flags
        self.secret_file = folder / "orch-secret"
        self.secret_file.write_text(SECRET)
        self.port, self._cli_port = free_port(), free_port()
        self.cli_url = f"http://127.0.0.1:{self._cli_port}"
        self.certificate = folder / "data" / "cert.pem"
        self._host, self._runners_say = host, runners_say
        self._process: asyncio.subprocess.Process | None = None
        self._control_url = ""
        self.client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusting(), force_close=True),
            timeout=aiohttp.ClientTimeout(total=PATIENCE_S),
        )

    @property
    def url(self) -> str:
        """Base URL of the service port."""
        return f"{self.program.scheme}://127.0.0.1:{self.port}"

    def command_line(self) -> list[str]:
        """Return what is said to the program: version, ports, secret, and its flags."""
        return ["--version", self.program.version, *self._addresses(), *self.program.flags, *self.flags]

    def _addresses(self) -> tuple[str, ...]:
        service = f"{self._host}:{self.port}"
        if self.program.double == LIVEPEER_NODE.double:
            return ("--listen", service, "--service-url", self.url, "--bootstrap-secret-file", str(self.secret_file))
        media = ("--trickle-host-for-runner", f"{self._runners_say}:{self.port}") if self._runners_say else ()
        return (
            *("--service", service, "--service-uri", self.url, "--orch-secret", SECRET),
            *("--cli", f"127.0.0.1:{self._cli_port}", "--datadir", str(self.folder / "data"), *media),
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
        """Return as soon as its ports answer."""
        program, ready = self.program, self.folder / "ready.json"
        ready.unlink(missing_ok=True)
        with (self.folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(
                    sys.executable,
                    "-m",
                    f"tests.doubles.{program.double}",
                    *self.command_line(),
                    "--ready-file",
                    str(ready),
                ),
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
        has_cli = self.program.double == GO_LIVEPEER.double
        return {
            "jobs.listen": f"127.0.0.1:{jobs_port}",
            "orchestrator.service_url": self.url,
            **({"orchestrator.cli_url": self.cli_url} if has_cli else {}),
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
        """Return the BYOC registry, which go-livepeer before 0.10 has: by name url, capacity, load ..."""
        found: dict[str, dict[str, Any]] = (await self.state())["capabilities"]
        return found

    async def fault(self, action: str, **how: object) -> None:
        """Use a switch of its control port; see `faults.py` of its double."""
        query = {name: str(value) for name, value in how.items()}
        async with self.client.post(f"{self._control_url}/_control/{action}", params=query) as answer:
            assert answer.status == 200

    # What a gateway says.

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        async with self.client.request(method, path if path.startswith("http") else self.url + path, **options) as got:
            return got.status, await got.text()

    async def listed(self, app: str) -> dict[str, Any]:
        """Return what discovery lists of an app, as soon as it does: what has no free slot is left out meanwhile."""
        async with asyncio.timeout(PATIENCE_S):
            while (found := (await self.runners()).get(app)) is None:  # noqa: ASYNC110 - the node is another process
                await asyncio.sleep(0.05)
        return found

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
