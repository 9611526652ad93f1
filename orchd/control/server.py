"""EDGE. The unix socket behind `orchd restart` and `orchd down`.

Only users who may write in the state directory can use it.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from aiohttp import web

from orchd.domain.ids import ModelKey
from orchd.errors import Code, OrchdError
from orchd.status_view import find_model

log = structlog.get_logger("orchd.control")

SOCKET_NAME = "control.sock"
CLOSE_TIMEOUT_S = 1.0


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Give a name for `path` that fits into a socket address (108 bytes), however deep its folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class ControlServer:
    """Takes orders on the socket, one HTTP request each.

    Args:
        state_dir: holds the socket. The caller holds its lock, so a socket that is there belongs to a dead daemon.
        keys: returns the models that there are.
        restart: asks for a restart of one of them.
        down: stops and removes all runners, yielding a line whenever there is news; then the daemon ends.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        keys: Callable[[], Iterable[ModelKey]],
        restart: Callable[[ModelKey], Awaitable[None]],
        down: Callable[[], AsyncIterator[str]],
    ) -> None:
        self._path = state_dir / SOCKET_NAME
        self._keys = keys
        self._restart = restart
        self._down = down
        app = web.Application()
        app.add_routes([web.post("/restart", self._on_restart), web.post("/down", self._on_down)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_S)
        self._site: web.SockSite | None = None
        self._made: tuple[int, int] | None = None  # device and inode

    async def start(self) -> None:
        """Listen. On a full disk the socket is made later, by `listen_again`.

        Raises:
            OrchdError: `address_in_use`: the socket can't be made.
        """
        await self._runner.setup()
        try:
            await self._listen()
        except OSError as exc:
            if exc.errno in (errno.ENOSPC, errno.EDQUOT):
                log.error("control_socket_missing", path=str(self._path), why=exc.strerror)
                return
            await self._runner.cleanup()
            raise OrchdError(
                f"cannot listen on {self._path} for orders: {exc.strerror or exc}", code=Code.ADDRESS_IN_USE
            ) from exc

    async def listen_again(self) -> None:
        """Make the socket again after its file has gone (see `is_there`).

        Raises:
            OSError: it can't be made.
        """
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        await self._listen()

    def is_there(self) -> bool:
        """Return whether the socket's file is still ours; it may have been removed. Blocks on the disk."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == self._made

    async def _listen(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._path.unlink(missing_ok=True)
            os.fchmod(sock.fileno(), 0o600)  # before it has a name: at no moment may others connect
            with short_path(self._path) as name:
                sock.bind(name)
            made = self._path.stat()
            site = web.SockSite(self._runner, sock)
            await site.start()
        except OSError:
            sock.close()
            raise
        former, self._site, self._made = self._site, site, (made.st_dev, made.st_ino)
        if former is not None:
            await former.stop()

    async def close(self) -> None:
        """Close the connections and remove the socket."""
        await self._runner.cleanup()
        self._path.unlink(missing_ok=True)

    async def _on_restart(self, request: web.Request) -> web.Response:
        try:
            key = find_model(_model_of(await request.read()), self._keys())
            await self._restart(key)
        except OrchdError as exc:
            return web.json_response({"error": exc.code, "message": exc.message}, status=400)
        return web.json_response({"model": str(key)})

    async def _on_down(self, request: web.Request) -> web.StreamResponse:
        """Answer with one JSON object per line: `{"line"}` for news, finally `{"done": true}` or `{"error"}`."""
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await answer.prepare(request)
        listening = True

        async def tell(**news: object) -> None:
            nonlocal listening
            if listening:
                try:
                    await answer.write(json.dumps(news).encode() + b"\n")
                except ConnectionError:
                    listening = False  # The command has ended; what it asked for continues.

        try:
            async for line in self._down():
                await tell(line=line)
            await tell(done=True)
        except OrchdError as exc:
            await tell(error=exc.code, message=exc.message)
        return answer


def _model_of(order: bytes) -> str:
    try:
        model = json.loads(order)["model"]
        if isinstance(model, str):
            return model
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise OrchdError('cannot read the order: {"model": NAME} is expected', code=Code.BAD_REQUEST)
