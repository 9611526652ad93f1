"""A job server before which containers speak for their sessions."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

from orchd.channels.bounds import Bounds
from orchd.channels.store import ChannelStore
from orchd.database.migrations import find_migrations
from orchd.database.sql import Sql
from orchd.doors.channels.door import ChannelsDoor
from orchd.doors.entrance import Entrance
from orchd.doors.nowhere import NowhereDoor
from orchd.doors.runner_side.callbacks import Callbacks
from orchd.doors.runner_side.door import RunnerSideDoor
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.sold.live import LiveSession
from orchd.sold.runner_side.grants import Grants
from orchd.sold.runner_side.runner_side import RunnerSide
from orchd.sold.runner_side.urls import RunnerUrls
from tests.fakes.sold_door import SessionDoor
from tests.faults.message import Message
from tests.jobs.fakes import INSIDE, SERVICE, Bench, FakeHook
from tests.jobs.messages import request
from tests.jobs.model import KEY, a_model
from tests.jobs.test_own import FakeKeeper

T = TypeVar("T")
SESSION = "session_abcdefghijklmnop"


class Rows:
    """The tables of the runner's side, in memory and without a thread.

    Attributes:
        broken: what each transaction raises; None = it is carried out.
    """

    def __init__(self) -> None:
        database = sqlite3.connect(":memory:", isolation_level=None)
        for step in find_migrations()["runner_side"]:
            database.executescript(step.script)
        self._sql = Sql(database)
        self.broken: Exception | None = None

    async def transaction(self, work: Callable[[Sql], T]) -> T:
        if self.broken is not None:
            raise self.broken
        return work(self._sql)

    async def read(self, work: Callable[[Sql], T]) -> T:
        return work(self._sql)


class Paid(FakeHook):
    """Takes a payment for the manifest that the header names."""

    def identify(self, job: Job) -> Waits:
        if not job.in_session and (manifest := job.header(b"manifest")) is not None:
            job.name_session(manifest.decode())
        return super().identify(job)


class ContainersBench(Bench):
    """The job server with the door of containers, and one by which sessions are reserved."""

    def __init__(
        self, *, service: str = SERVICE, inside: str = INSIDE, grants: tuple[str, ...] = (), **options: Any
    ) -> None:
        super().__init__(**{"models": (a_model(persistent=True, max_sessions=4),), "hooks": [Paid()]} | options)
        self.channels = ChannelStore(Bounds(), asyncio.get_running_loop().time)
        self.rows = Rows()
        self.side = RunnerSide(self.sold, self.channels, self.rows)
        urls = RunnerUrls(service, inside, lambda: "", lambda: self.models)
        door = RunnerSideDoor(
            self.sold, self.side, Callbacks(self.sold, self.side, urls), Grants(grants, {8738}).allows
        )
        self.answers = FakeKeeper()
        doors = (SessionDoor(), door, ChannelsDoor(self.channels), NowhereDoor())
        self.entrance = Entrance(doors, own=self.answers)

    async def reserved(self, id: str = SESSION) -> LiveSession:
        """Return a session that was reserved."""
        caller = await self.serve(request(("Manifest", id), target=f"/s/{KEY.slug}/session"))
        assert caller.messages[0].status == 200
        session = self.sold.find(id)
        assert session is not None
        return session

    def token(self, id: str = SESSION) -> str:
        """What the container of a session was told."""
        session = self.sold.find(id)
        return "" if session is None else self.sold.token(session).value

    async def asked(
        self,
        what: str,
        body: bytes = b"",
        *,
        method: str = "POST",
        token: str | None = None,
        id: str = SESSION,
        slug: str = KEY.slug,
    ) -> Message:
        """Return what a container is answered that asks this for its session."""
        header = ("Livepeer-Session-Token", self.token() if token is None else token)
        target = f"/runner/{slug}/session/{id}/{what}"
        return await self.answer_to(request(header, method=method, target=target, body=body))

    async def made_proxy(self, target: str | None = None) -> str:
        """Return the id of a proxy that a container has made."""
        answer = await self.asked("proxy", json.dumps({"target_url": target}).encode())
        assert answer.status == 200, answer.body
        return str(json.loads(answer.body)["proxy_id"])

    async def answer_to(self, data: bytes) -> Message:
        """Return the answer to a request that is answered without time passing."""
        caller = self.caller(data)
        await self.settle()
        (message,) = caller.messages
        return message
