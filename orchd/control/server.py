"""EDGE. The unix socket behind the commands that give the daemon orders, such as `orchd restart`.

Only users who may write in the state directory can use it.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import struct
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path

import structlog
from aiohttp import web

from orchd import tasks
from orchd.control.orders import Json, Order, asked_by
from orchd.control.socket_path import SOCKET_NAME, short_path
from orchd.errors import Code, OrchdError

log = structlog.get_logger("orchd.control")

CLOSE_TIMEOUT_S = 1.0


class ControlServer:
    """Takes orders on the socket, one HTTP request each: `POST /NAME`, with a JSON object.

    Args:
        state_dir: holds the socket. The caller holds its lock, so a socket that is there belongs to a dead daemon.
        orders: by name.
    """

    def __init__(self, state_dir: Path, orders: Mapping[str, Order]) -> None:
        self._path = state_dir / SOCKET_NAME
        self._orders = orders
        app = web.Application()
        app.add_routes([web.post("/{name}", self._on_order)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_S, handler_cancellation=True)
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

    async def _on_order(self, request: web.Request) -> web.StreamResponse:
        """Answer with one JSON object per line: what the order tells, finally `{"done": true}` or `{"error"}`.

        What is refused before there is any news is a plain 400, a JSON object too.
        """
        work = tasks.spawn(self._carry_out(request), name=f"order {request.match_info['name']}")
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:  # Who asked has left, or the daemon ends.
            if not self._goes_on(request):
                await tasks.cancel(work)
            raise

    def _goes_on(self, request: web.Request) -> bool:
        order = self._orders.get(request.match_info["name"])
        return order is not None and order.goes_on

    async def _carry_out(self, request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        listening = True

        async def tell(news: Json) -> None:
            nonlocal listening
            if listening:
                try:
                    if not answer.prepared:
                        await answer.prepare(request)
                    await answer.write(json.dumps(news).encode() + b"\n")
                except ConnectionError:
                    listening = False  # The command has ended.

        try:
            order = self._orders.get(request.match_info["name"])
            if order is None:
                raise OrchdError(
                    "cannot do that: the daemon that runs does not know this order, so it is of another version than "
                    "this command; restart it (systemctl restart orchd)",
                    code=Code.BAD_REQUEST,
                )
            body = _json_of(await request.read())
            async with aclosing(order.carry_out(body, asked_by(body, _uid_of(request)))) as news:
                async for line in news:
                    await tell(line)
            await tell({"done": True})
        except OrchdError as exc:
            error = {"error": exc.code, "message": exc.message}
            if not answer.prepared:
                return web.json_response(error, status=400)
            await tell(error)
        return answer


def _json_of(order: bytes) -> Json:
    try:
        body = json.loads(order or b"{}")
        if isinstance(body, dict):
            return body
    except (ValueError, RecursionError):
        pass
    raise OrchdError("cannot read the order: a JSON object is expected", code=Code.BAD_REQUEST)


def _uid_of(request: web.Request) -> int:
    sock = request.transport.get_extra_info("socket") if request.transport else None
    if sock is None:
        return -1
    credentials: bytes = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
