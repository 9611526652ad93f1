"""A daemon in this process whose listener for payers carries a door of the test's."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from orchd.app import App
from orchd.domain.origins import Origin
from orchd.doors.base import Door
from orchd.doors.own import Answered, OwnAnswer, OwnRequest
from orchd.doors.routes import Route, Served
from orchd.doors.way_in import WayIn
from orchd.history.ports import History
from orchd.http1.rules import RequestHead
from orchd.loops import fast_loop
from orchd.part import Context
from orchd.public.part import HasSnapshots, PublicPart, ServesListeners
from orchd.public.runner_listener import RunnerSideOpening
from orchd.public.tls import CHAIN, FOLDER, CertificateWatch
from orchd.tasks import spawn
from tests.advertise.rig import until
from tests.ports import free_port
from tests.test_app import app_with

T = TypeVar("T")
TOKEN = "/process/token"
LOOPS = (asyncio.new_event_loop, fast_loop() or asyncio.new_event_loop)


def on(loop: Callable[[], asyncio.AbstractEventLoop], work: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a test on a loop of this kind."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work())


class TokenDoor(Door):
    """Says who asks."""

    name = "token"
    origin = Origin.DIRECT
    public = True

    def takes(self, path: str) -> bool:
        return path == TOKEN

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        return OwnAnswer("token", self._answer, 1000)

    def _answer(self, asked: OwnRequest) -> Answered:
        if payer := asked.job.header(b"x-payer"):
            asked.limit_payer(payer.decode())
        return Answered(200, f"{asked.job.peer} {asked.body.decode()}".encode())


class PublicDaemon:
    """Attributes:
    app: that runs.
    port: of the listener for payers.
    """

    def __init__(self, app: App, folder: Path) -> None:
        self.app = app
        self.port = app.part(PublicPart).port
        self.own_certificate = folder / "state" / FOLDER / CHAIN

    def client_context(self, certificate: Path | None = None) -> ssl.SSLContext:
        """Return what trusts the daemon's certificate, and no other."""
        return ssl.create_default_context(cafile=str(certificate or self.own_certificate))

    @property
    def watch(self) -> CertificateWatch:
        """What looks at the files of the certificate."""
        watch = self.app.part(PublicPart)._watch
        assert watch is not None
        return watch

    @property
    def metrics(self) -> str:
        return self.app._context.metrics.render().decode()

    async def ask(self, path: str = TOKEN, *, tls: bool = True, **options: Any) -> tuple[int, str, Mapping[str, str]]:
        scheme, how = ("https", self.client_context()) if tls else ("http", True)
        async with (
            aiohttp.ClientSession() as session,
            session.request("GET", f"{scheme}://localhost:{self.port}{path}", ssl=how, **options) as answer,
        ):
            return answer.status, await answer.text(), answer.headers


@asynccontextmanager
async def daemon(
    folder: Path,
    door: Callable[[], Door] = TokenDoor,
    models: Sequence[Mapping[str, Any]] = (),
    jobs: Mapping[str, Any] | None = None,
    **public: Any,
) -> AsyncIterator[PublicDaemon]:
    """Run a daemon until the end of the block.

    Args:
        door: makes the door of `public.listen`.
        models: entries of the models file.
        jobs: settings of that section.
        public: settings of that section.
    """
    given = {"listen": ["127.0.0.1:0"], "doors": ["byoc"], "url": "https://localhost", **public}
    limits = {"listen": f"127.0.0.1:{free_port()}", **(jobs or {})}
    app = app_with(folder, {PublicPart: with_door(door)}, public=given, jobs=limits)
    (folder / "aiModels.json").write_text(json.dumps(list(models)))
    running = spawn(app.run(), name="daemon")
    try:
        await until("it runs or has failed", lambda: app.accepting or running.done())
        if running.done():
            await running
        yield PublicDaemon(app, folder)
    finally:
        app.stop()
        await running


def with_door(door: Callable[[], Door]) -> Callable[..., PublicPart]:
    """Return what makes the part with this door in place of orchd's own."""

    def make(
        context: Context,
        jobs: ServesListeners,
        reconcile: HasSnapshots,
        history: History,
        ways: Mapping[str, Callable[[], WayIn]],
        runner_side: RunnerSideOpening | None,
    ) -> PublicPart:
        return PublicPart(context, jobs, reconcile, history, {"byoc": lambda: WayIn((door(),))}, runner_side)

    return make
