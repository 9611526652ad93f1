"""A gateway: jobs and streams over BYOC, sessions over Live Runner. It has all the money that they need."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import aiohttp

from orchd import tasks
from orchd.domain.ids import ModelKey
from tests.chaos.entries import JOB_S
from tests.chaos.shelf import Shelf
from tests.doubles.golivepeer.kit import FUNDED_KEY, job_header, sign
from tests.doubles.golivepeer.live_registry import Runner
from tests.doubles.golivepeer.node import Node
from tests.doubles.shared.trickle_clients import trusting

GIVES_UP_S = 20.0
"""With a node that does not answer."""


class Gateway:
    """Attributes:
    streams: of BYOC, that were started and not stopped: id to model.
    held: sessions of Live Runner, likewise.
    """

    def __init__(self, node: Node, shelf: Shelf) -> None:
        self.node, self.shelf = node, shelf
        self.streams: dict[str, ModelKey] = {}
        self.held: dict[str, ModelKey] = {}
        self._jobs: set[asyncio.Task[int]] = set()
        self._numbers = itertools.count(1)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=trusting(), force_close=True, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await tasks.cancel(*self._jobs)
        await self._session.close()

    async def post(self, path: str, headers: dict[str, str], said: object) -> int:
        """Return the status; 0 = there was no answer."""
        try:
            async with self._session.post(self.node.service_url + path, json=said, headers=headers) as answer:
                await answer.read()
                return answer.status
        except aiohttp.ClientError:
            return 0

    def funded(self, key: ModelKey, **fields: Any) -> dict[str, str]:
        """Return the header of a job whose sender has all the money that it needs."""
        sender = sign("", FUNDED_KEY)[0].lower()
        self.node.byoc.credit[sender, str(key)] = Fraction(10**30)
        return job_header(str(key), timeout_seconds=JOB_S, **fields)

    async def job(self, key: ModelKey) -> int:
        """Have a job done over BYOC; returns when it ends."""
        status = await self.post("/process/request/", self.funded(key), {})
        assert status not in (401, 403, 404), f"a gateway was told {status} for a job of {key}"
        return status

    async def begin_job(self, key: ModelKey) -> bool:
        """Begin one and leave it running; return whether it was taken."""
        before = self.shelf.work(key)
        call = tasks.spawn(self.job(key), name=f"job of {key}")
        self._jobs.add(call)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVES_UP_S):
                while self.shelf.work(key) == before and not call.done():  # noqa: ASYNC110 - time jumps anyway
                    await asyncio.sleep(0.1)
                return not call.done()
        await tasks.cancel(call)
        return False

    async def end_job(self, key: ModelKey) -> None:
        for container in self.shelf.of(key):
            for finish in list(container.jobs)[:1]:
                finish.set()

    async def call(self, path: str, headers: dict[str, str], said: object) -> int:
        """As `post`, by a gateway that gives up."""
        try:
            async with asyncio.timeout(GIVES_UP_S):
                return await self.post(path, headers, said)
        except TimeoutError:
            return 0

    async def start_stream(self, key: ModelKey) -> int:
        name = f"stream-{next(self._numbers)}"
        wanted = json.dumps({"enable_video_ingress": True, "enable_video_egress": True})
        headers = self.funded(key, id=name, request=json.dumps({"stream_id": name}), parameters=wanted)
        self.streams[name] = key
        status = await self.call("/ai/stream/start", headers, {})
        assert status not in (401, 403, 404), f"a gateway was told {status} for a stream of {key}"
        if status >= 400:
            del self.streams[name]
        return status

    async def stop_stream(self, name: str) -> None:
        headers = self.funded(self.streams[name], id=name, request=json.dumps({"stream_id": name}))
        if await self.call("/ai/stream/stop", headers, {}) == 200:
            del self.streams[name]

    def runner(self, key: ModelKey) -> Runner | None:
        """Return the node's Live Runner record, if it can be used."""
        registry = self.node.live_runners.registry
        return next((r for r in registry.runners() if r.entry.app == str(key) and registry.usable(r)), None)

    async def hold(self, key: ModelKey) -> bool:
        """Reserve a session over Live Runner, as if it were paid for, and start a stream on it, if there is a slot."""
        runner = self.runner(key)
        if runner is None or runner.free <= 0:
            return False
        session = self.node.live_runners.registry.reserve(runner).session_id
        self.held[session] = key
        await self.call(f"/apps/{runner.route}/session/{session}/app/stream/start", {}, {})
        return True

    async def let_go(self, session: str) -> None:
        runner = self.runner(self.held.pop(session))
        if runner is not None:
            await self.call(f"/apps/{runner.route}/session/{session}/stop", {}, {})

    async def leave(self) -> None:
        """Stop all streams and sessions, and wait for no job any more."""
        for name in list(self.streams):
            await self.stop_stream(name)
        for session in list(self.held):
            await self.let_go(session)
        await tasks.cancel(*self._jobs)
