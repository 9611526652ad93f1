"""The read-only admin pages: is orchd alive, can it serve, what does it do, and its metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from aiohttp import web
from aiohttp.typedefs import Handler

from orchd.admin.settings import AdminSettings
from orchd.admin.status_page import StatusPage
from orchd.domain.state import Snapshot
from orchd.errors import Code, OrchdError, reason_of
from orchd.exposition import MetricsRegistry
from orchd.settings.addresses import split_listen
from orchd.status_view import readiness
from orchd.tcp_listeners import taken_by

INDEX = """orchd, admin pages (read only)

/healthz   200 while the event loop turns
/readyz    200 while jobs can be served (the setting admin.ready_when says when that is), else 503 with the reasons
/status    all models, their runners and latest events, as JSON; ?model=NAME for one
/metrics   for Prometheus
"""

CLOSE_TIMEOUT_S = 1.0
"""A page takes milliseconds; what is still open then is an idle connection."""


class AdminServer:
    """Serves the pages; it changes nothing.

    Args:
        snapshot: makes the newest one.
        accepting: whether jobs are taken: the job listener is up, and orchd is not shutting down.
    """

    def __init__(
        self,
        settings: AdminSettings,
        *,
        snapshot: Callable[[], Awaitable[Snapshot]],
        metrics: MetricsRegistry,
        accepting: Callable[[], bool],
    ) -> None:
        self._listen = settings.listen
        self._ready_when = settings.ready_when
        self._snapshot = snapshot
        self._metrics = metrics
        self._pages = StatusPage(snapshot)
        self._accepting = accepting
        app = web.Application(middlewares=[_name_the_pages])
        app.add_routes(
            [
                web.get("/", self._index),
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
                web.get("/status", self._status),
                web.get("/metrics", self._render),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_TIMEOUT_S)

    @property
    def port(self) -> int:
        """The port in use; differs from the setting if that is 0."""
        port: int = self._runner.addresses[0][1]
        return port

    @property
    def listen(self) -> str:
        """The address in use, as people write it."""
        return f"{self._listen.rpartition(':')[0]}:{self.port}"

    async def start(self) -> None:
        """Listen.

        Raises:
            OrchdError: `address_in_use`: taken, or not an address of this host.
        """
        host, port = split_listen(self._listen)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, host, port).start()
        except OSError as exc:
            await self._runner.cleanup()
            raise OrchdError(
                f"cannot listen on {self._listen} for the admin pages: {taken_by(host, port, reason_of(exc))}; "
                "choose another address with --admin-listen",
                code=Code.ADDRESS_IN_USE,
            ) from exc

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _index(self, _request: web.Request) -> web.Response:
        return web.Response(text=INDEX)

    async def _healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def _readyz(self, _request: web.Request) -> web.Response:
        ready, body = readiness(await self._snapshot(), self._accepting(), self._ready_when)
        return web.json_response(body, status=200 if ready else 503)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        try:
            chunks = await self._pages.page(request.query.get("model"))
            return await _send(request, chunks, "application/json; charset=utf-8")
        except OrchdError as exc:
            return web.json_response({"error": exc.code, "message": exc.message}, status=404)

    async def _render(self, request: web.Request) -> web.StreamResponse:
        scraper = f"{request.remote} {request.headers.get('User-Agent', '')}"
        return await _send(request, await self._metrics.page(scraper), self._metrics.content_type)


@web.middleware
async def _name_the_pages(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say which pages there are where somebody asks for another one."""
    try:
        return await handler(request)
    except web.HTTPNotFound:
        return web.Response(
            status=404, text=f"cannot find {request.path[:200]!r} here: this is the admin port\n\n{INDEX}"
        )


async def _send(request: web.Request, chunks: Sequence[bytes], content_type: str) -> web.StreamResponse:
    """Answer with the chunks, one by one: what is shared by several readers isn't copied for each of them."""
    response = web.StreamResponse(headers={"Content-Type": content_type})
    response.content_length = sum(map(len, chunks))
    with suppress(ConnectionError):  # Readers may leave in the middle: their timeout is not our fault.
        await response.prepare(request)
        if request.method != "HEAD":
            for chunk in chunks:
                await response.write(chunk)
                await asyncio.sleep(0)  # Where the reader takes all that it is given, `write` never waits.
        await response.write_eof()
    return response
