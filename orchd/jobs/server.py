"""EDGE. The job listener: takes connections, hands each request to `handle`, and leaves in an orderly way."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Mapping

import structlog
from aiohttp import web

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.errors import Code, JobRefused, OrchdError, reason_of
from orchd.jobs.caller import Connection, HttpCaller, Sent
from orchd.jobs.forward import HttpRunners
from orchd.jobs.handle import Handler, JobMetrics
from orchd.jobs.hooks import Hooks
from orchd.jobs.ports import CallerGone
from orchd.jobs.refusal import rendered
from orchd.jobs.request import request_id
from orchd.sessions.table import SessionTable
from orchd.settings import JobsSettings, split_listen
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.jobs")

LOOKOUT_PERIOD_S = 1.0
LAST_WORDS_S = 2.0  # For answers that are being sent when everything else has ended.


class JobServer:
    """Args as `Handler`'s."""

    def __init__(
        self,
        settings: JobsSettings,
        table: SessionTable,
        models: Callable[[], Mapping[ModelKey, Model]],
        status: Callable[[ModelKey], tuple[bool, str]],
        hooks: Hooks,
        metrics: JobMetrics,
        hurry: Callable[[RunnerId], None],
    ) -> None:
        self._settings = settings
        self._handler = Handler(
            settings=settings,
            table=table,
            models=models,
            status=status,
            hooks=hooks,
            runners=HttpRunners(),
            metrics=metrics,
            hurry=hurry,
        )
        self._connections = web.Server(self._serve, handler_cancellation=True)
        self._listener: asyncio.Server | None = None
        self._lookout: asyncio.Task[None] | None = None
        self._leaving = False

    @property
    def port(self) -> int:
        """The port in use; differs from the setting if that is 0."""
        assert self._listener is not None, "start() comes first"
        port: int = self._listener.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen.

        Raises:
            OrchdError: ADDRESS_IN_USE; SETTING_INVALID for an address that can't be listened on.
        """
        host, port = split_listen(self._settings.listen)
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(
                lambda: Connection(self._connections, self._settings), host, port, backlog=1024
            )
        except OSError as exc:
            raise OrchdError(
                f"cannot listen on {self._settings.listen} for jobs: {reason_of(exc)}; "
                "choose another address with --jobs-listen",
                code=Code.ADDRESS_IN_USE if exc.errno == errno.EADDRINUSE else Code.SETTING_INVALID,
            ) from exc
        self._lookout = spawn(self._look_out(), name="lookout for callers that left")
        log.info("jobs_listening", listen=self._settings.listen, port=self.port)

    def stop_accepting(self) -> None:
        """Take no more connections; new requests on those that there are get 503, and running ones go on."""
        self._leaving = True
        self._handler.refuse_new()
        if self._listener is not None:
            self._listener.close()

    async def drain(self, deadline_s: float) -> None:
        """Wait until every job has ended and is settled; after `deadline_s` cut those that still run."""
        try:
            async with asyncio.timeout(deadline_s):
                await self._handler.idle()
        except TimeoutError:
            self._handler.abort_all("orchd is shutting down")
            await self._handler.idle()

    async def close(self) -> None:
        """Close listener and connections; jobs that still run are cancelled."""
        self.stop_accepting()
        self._connections.pre_shutdown()
        await self._connections.shutdown(LAST_WORDS_S)
        await self._handler.idle()
        if self._lookout is not None:
            await cancel(self._lookout)

    async def _look_out(self) -> None:
        while True:
            await asyncio.sleep(LOOKOUT_PERIOD_S)
            for connection in self._connections.connections:
                if isinstance(connection, Connection):
                    connection.end_if_left()

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        caller = HttpCaller(request, connection)
        caller.keep_alive = caller.keep_alive and not self._leaving
        if (why := caller.unreadable()) is not None:
            await self._refuse(caller, why)
        else:
            await self._handler.handle(caller)
        await caller.drop_rest()
        return Sent(keep_alive=caller.keep_alive)

    async def _refuse(self, caller: HttpCaller, why: JobRefused) -> None:
        caller.keep_alive = False
        try:
            await caller.answer(why.status, *rendered(why, request_id(caller.headers)))
        except CallerGone:
            log.debug("refusal_unread")
