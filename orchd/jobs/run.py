"""One job under way, and what is known of it so far."""

from __future__ import annotations

import asyncio

from orchd.domain.ids import ModelKey
from orchd.errors import JobRefused
from orchd.jobs.fuse import Fuse
from orchd.jobs.ports import Caller
from orchd.jobs.request import request_id
from orchd.sessions.session import Outcome, Session


class Aborted(JobRefused):
    """Cut by orchd: a drain's deadline, a runner that goes, shutdown, a hook that will not go on."""


class Run:
    """Attributes:
    counts: it is a job; False for questions that orchd answers itself.
    ended: with a session: gets its outcome when the slot is free.
    ahead: bytes of the body that were read to find the model.
    status: of the runner's answer; 0 = none yet.
    first_byte_s: from `began_at` to the head of that answer; None = none yet.
    """

    def __init__(self, caller: Caller) -> None:
        self._clock = asyncio.get_running_loop().time
        self.caller = caller
        self.request_id = request_id(caller.headers)
        self.began_at = self._clock()
        self.fuse = Fuse()
        self.counts = True
        self.key: ModelKey | None = None
        self.session: Session | None = None
        self.ended: asyncio.Future[Outcome] | None = None
        self.ahead = b""
        self.held_s = 0.0
        self.status = 0
        self.first_byte_s: float | None = None
        self.bytes_in = 0
        self.bytes_out = 0

    @property
    def age_s(self) -> float:
        return self._clock() - self.began_at

    def answered(self, status: int) -> None:
        self.status, self.first_byte_s = status, self.age_s
        self.moved()

    def moved(self) -> None:
        """A byte moved, either way: a runner whose jobs progress is not dead."""
        if self.session is not None:
            self.session.progress_at = self._clock()
