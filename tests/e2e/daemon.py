"""`orchd run` as a child of a test: its files, its ports, its pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.ports import free_port

PATIENCE_S = 90.0
"""Upper bound of every wait: for machines that are slow, never for how long something should take."""

ROOT = Path(__file__).parents[2]

FAST = {
    "reconcile.period_s": "1",
    "reconcile.backoff_min_s": "0.1",
    "reconcile.backoff_max_s": "0.5",
    "reconcile.drain_timeout_s": "20",
    "shutdown_drain_s": "5",
    "models_poll_s": "1",
    "log.format": "json",
}


def kill_processes(instance: str) -> None:
    """Kill what an instance has launched as processes and left."""
    mark = f"ORCHD_INSTANCE={instance}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(variable.startswith(mark) for variable in (process / "environ").read_bytes().split(b"\0")):
                os.kill(int(process.name), signal.SIGKILL)


class Daemon:
    """One daemon with a folder, an instance and ports of its own. `async with` starts and ends it.

    Attributes:
        models: its aiModels.json; `write` replaces it as an editor does.
        main: module that is run in place of `orchd` (with the same arguments).
    """

    def __init__(
        self,
        folder: Path,
        instance: str,
        *,
        docker: bool = False,
        settings: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        main: Sequence[str] = ("orchd",),
    ) -> None:
        self.folder, self.instance = folder, instance
        self.models = folder / "aiModels.json"
        self.state = folder / "state"
        self.log = folder / "orchd.log"
        self.jobs_port, self.admin_port = free_port(), free_port()
        self._settings = {
            **FAST,
            "models_file": str(self.models),
            "state_dir": str(self.state),
            "instance": instance,
            "jobs.listen": f"127.0.0.1:{self.jobs_port}",
            "admin.listen": f"127.0.0.1:{self.admin_port}",
            "docker.enabled": "true" if docker else "false",
            **(settings or {}),
        }
        self._env = dict(env or {})
        self._main = main
        self.process: asyncio.subprocess.Process | None = None
        self._client: aiohttp.ClientSession | None = None

    # -- life --------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.end()
        if exc is not None:
            print(self.log_text()[-8000:])

    async def start(self, *, wait: bool = True) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.models.exists() or self.models.is_symlink()):
            self.models.write_text("[]")
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *self._main,
                "run",
                *self.flags(),
                cwd=ROOT,
                env={**os.environ, **self._env},
                stdout=log,
                stderr=log,
            )
        if wait:
            await self.until_up()

    def flags(self, *names: str) -> list[str]:
        """Return the settings (only those named, if any are) as flags, for other commands as well."""
        chosen = {k: v for k, v in self._settings.items() if not names or k in names}
        return [part for k, v in chosen.items() for part in (f"--{k.replace('.', '-').replace('_', '-')}", v)]

    async def until_up(self) -> None:
        async def up() -> bool:
            assert self.process is not None
            assert self.process.returncode is None, f"orchd ended: {self.log_text()[-2000:]}"
            try:
                return (await self.get("/healthz"))[0] == 200
            except aiohttp.ClientError:
                return False

        await self.until("orchd is up", up)

    async def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it as systemd does, and return its exit code."""
        assert self.process is not None
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(PATIENCE_S):
            code = await self.process.wait()
        if self._client is not None:
            await self._client.close()
            self._client = None
        return code

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the log lines with this event name; one that is being written is left for the next look."""
        whole = self.log_text().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.split("\n") if line.startswith("{")]
        return [line for line in lines if line.get("event") == name]

    # -- its file and pages ------------------------------------------------------------------------------------------

    def write(self, *entries: dict[str, Any]) -> None:
        """Replace aiModels.json by an atomic rename."""
        self.folder.mkdir(parents=True, exist_ok=True)
        draft = self.models.with_suffix(".new")
        draft.write_text(json.dumps(entries, indent=2))
        draft.rename(self.models)

    @property
    def client(self) -> aiohttp.ClientSession:
        if self._client is None:
            self._client = aiohttp.ClientSession()
        return self._client

    @property
    def url(self) -> str:
        """Base URL of the job listener."""
        return f"http://127.0.0.1:{self.jobs_port}"

    async def get(self, path: str) -> tuple[int, Any]:
        """Return status and JSON of an admin page."""
        async with self.client.get(f"http://127.0.0.1:{self.admin_port}{path}") as answer:
            return answer.status, await answer.json()

    async def status(self) -> dict[str, Any]:
        """Return /status."""
        _, body = await self.get("/status")
        assert isinstance(body, dict)
        return body

    async def model(self, model_id: str) -> dict[str, Any]:
        """Return what /status says of one model; empty if it has none of this id."""
        models = (await self.status())["models"]
        return next((model for model in models if model["model_id"] == model_id), {})

    async def until_model(self, model_id: str, what: str, holds: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Wait until `holds` is true of what /status says of a model, and return that."""
        seen: dict[str, Any] = {}

        async def now() -> bool:
            nonlocal seen
            seen = await self.model(model_id)
            try:
                return bool(holds(seen))
            except LookupError:
                if seen.get("runners"):
                    raise
                return False  # the model is not there yet, or none of its runners

        try:
            await self.until(f"{model_id} {what}", now)
        except AssertionError as exc:
            raise AssertionError(f"{exc}; {json.dumps(seen, indent=1)}") from None
        return seen

    async def until_state(self, model_id: str, state: str) -> dict[str, Any]:
        return await self.until_model(model_id, f"is {state}", lambda model: model.get("state") == state)

    async def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of this name that have these labels."""
        for _ in range(2):  # A series that is new is at zero on its first page.
            async with self.client.get(f"http://127.0.0.1:{self.admin_port}/metrics") as answer:
                families = text_string_to_metric_families(await answer.text())
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())

    async def job(
        self, model_id: str, do: str = "/echo", body: bytes = b"", pipeline: str = "text-to-image"
    ) -> tuple[int, bytes, Mapping[str, str]]:
        """Send a job to a scripted runner; `do`: what it shall do. Return status, body and headers of the answer."""
        headers = {"X-Model-Id": model_id, "X-Do": do}
        async with self.client.post(f"{self.url}/{pipeline}", data=body, headers=headers) as answer:
            return answer.status, await answer.read(), answer.headers

    async def begin_job(self, model_id: str, do: str, pipeline: str = "text-to-image") -> asyncio.StreamWriter:
        """Send a job over a connection of its own and don't wait for an answer; return what ends it by `close`."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.jobs_port)
        head = (
            f"POST /{pipeline} HTTP/1.1\r\nHost: h\r\nX-Model-Id: {model_id}\r\nX-Do: {do}\r\nContent-Length: 0\r\n\r\n"
        )
        writer.write(head.encode())
        return writer

    async def until(self, what: str, holds: Callable[[], Any]) -> Any:
        """Wait until `holds()` (awaited if it must be) is true, and return it."""
        result: Any = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    result = holds()
                    if asyncio.iscoroutine(result):
                        result = await result
                    if result:
                        return result
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"never: {what}; last seen {result!r}; {self.log_text()[-3000:]}") from None

    async def command(self, *words: str) -> tuple[int, str]:
        """Run another `orchd` command; return its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "orchd",
            *words,
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(PATIENCE_S):
            out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()
