"""What is known of one runner that is a child process."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field

from orchd.domain.ids import Address, RunnerId
from orchd.domain.model import ProcessLaunch
from orchd.domain.ports import SightedAs, Sighting
from orchd.runtime.process.marks import Process


@dataclass(slots=True, eq=False)
class ChildRunner:
    """One runner, of a handle that its runtime knows.

    Attributes:
        launch: None if adopted.
        pid, port: 0 until started. `pidfd`: open as long as the leader lives.
        reserved: port that it was given; it is free again if the start fails.
        launching: the start that is under way.
        log_from: place in its log where it was started; see `Logs.open_for`.
        secrets: that its definition gives it.
        killed: we have sent it SIGKILL. `out_of_memory`: the kernel did, as far as that can be told.
        members: its processes as last seen, by pid: some are known by their leader alone, which may end before them.
        all_ended: nothing of it is left, so that nothing can come any more.
    """

    id: RunnerId
    launch: ProcessLaunch | None = None
    pid: int = 0
    port: int = 0
    reserved: int = 0
    launching: asyncio.Task[OSError | None] | None = None
    pidfd: int | None = None
    child: subprocess.Popen[bytes] | None = None
    exit_code: int | None = None
    log_from: int = 0
    secrets: frozenset[str] = frozenset()
    killed: bool = False
    out_of_memory: bool = False
    members: dict[int, Process] = field(default_factory=dict)
    all_ended: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port)

    def sighting(self, handle: str, paused: set[int]) -> Sighting:
        """Return what is to be told of it. `paused`: the processes that are stopped."""
        if not self.port:
            return Sighting(self.id, handle, SightedAs.CREATED)
        if self.ended.is_set():
            return Sighting(self.id, handle, SightedAs.EXITED, exit_code=self.exit_code, oom_killed=self.out_of_memory)
        status = SightedAs.PAUSED if self.pid in paused else SightedAs.RUNNING
        return Sighting(self.id, handle, status, self.address)
