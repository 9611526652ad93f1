"""Engines that a test may treat badly: a proxy before the machine's own, and a dockerd of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker

from orchd.tasks import cancel, spawn
from tests.e2e.daemon import PATIENCE_S

PIECE = 65536
HOST = "/var/run/docker.sock"


class Proxy:
    """A unix socket through which orchd speaks to the machine's engine, for as long as the test allows it.

    Attributes:
        silent: requests whose first line contains this go nowhere; empty = all pass.
        streams: how often an event stream has begun.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.silent = ""
        self.streams = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[Any]] = set()

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Be there, as an engine that has come up."""
        self._server = await asyncio.start_unix_server(self._accepted, self.path)

    async def stop(self) -> None:
        """Be gone, as an engine that has ended."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self.path.unlink(missing_ok=True)
        await self.cut()

    async def cut(self) -> None:
        """Break every connection off; new ones pass."""
        await cancel(*self._open)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = spawn(self._serve(reader, writer), name="proxied")
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        engine, to_engine = await asyncio.open_unix_connection(HOST)
        answered = asyncio.Event()
        back = spawn(self._pass_on(engine, writer, answered), name="proxied answers")
        try:
            while piece := await reader.read(PIECE):
                first = piece.partition(b"\r\n")[0]
                if self.silent and self.silent.encode() in first:
                    await asyncio.Event().wait()
                answered.clear()
                to_engine.write(piece)
                await to_engine.drain()
                if b"/events" in first:
                    await answered.wait()
                    self.streams += 1
        except OSError:
            pass
        finally:
            await cancel(back)
            to_engine.close()
            writer.close()

    @staticmethod
    async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answered: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE):
                answered.set()
                writer.write(piece)
                await writer.drain()
        writer.close()


class Dockerd:
    """A Docker Engine of the test's own; `async with` leaves nothing of it.

    It has a network namespace of its own, with a route to its containers: in ours it would remove or re-address
    docker0, the bridge of the machine's own engine, whatever its flags say.
    """

    def __init__(self) -> None:
        # Short: containerd's socket lies below it, and a socket's path may have 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="t-dockerd-"))
        self.url = f"unix://{self._folder}/docker.sock"
        self._space = f"t{secrets.token_hex(5)}"
        self._process: asyncio.subprocess.Process | None = None

    @contextlib.contextmanager
    def api(self) -> Iterator[docker.APIClient]:
        with docker.APIClient(base_url=self.url, version="auto") as client:
            yield client

    async def __aenter__(self) -> Self:
        for words in (
            f"netns add {self._space}",
            f"link add {self._space} type veth peer name eth0 netns {self._space}",
            f"addr add 10.214.0.1/30 dev {self._space}",
            f"link set {self._space} up",
            f"-n {self._space} link set lo up",
            f"-n {self._space} addr add 10.214.0.2/30 dev eth0",
            f"-n {self._space} link set eth0 up",
            f"-n {self._space} route add default via 10.214.0.1",
            "route add 10.213.0.0/16 via 10.214.0.2",
        ):
            await self._ip(words)
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            await self._ip(f"netns del {self._space}")  # and with it all bridges, the link and its route

    @staticmethod
    async def _ip(words: str) -> None:
        process = await asyncio.create_subprocess_exec("ip", *words.split())
        assert await process.wait() == 0, f"ip {words}"

    async def start(self) -> None:
        folder = self._folder
        with (folder / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *("nsenter", f"--net=/run/netns/{self._space}", "dockerd"),
                *(f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"),
                *(f"--host={self.url}", "--bridge=none", "--iptables=false"),
                "--default-address-pool=base=10.213.0.0/16,size=24",
                stdout=log,
                stderr=log,
            )
        async with asyncio.timeout(PATIENCE_S):
            while not await asyncio.to_thread(self._answers):
                assert self._process.returncode is None, (folder / "log").read_text()[-2000:]
                await asyncio.sleep(0.1)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as door:
            return door.connect_ex(self.url.removeprefix("unix://")) == 0

    async def stop(self) -> None:
        """End it as systemd does: it ends its containers."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE_S):
            await self._process.wait()

    def load(self, image: str) -> None:
        """Copy an image of the machine's engine to this one. Blocks, for seconds."""
        with docker.APIClient(version="auto") as own, self.api() as api:
            for _ in api.load_image(own.get_image(image)):  # type: ignore[no-untyped-call]
                pass
