"""The first part, on which all others stand: the lock of the state directory, and what the `Context` holds."""

from __future__ import annotations

from orchd.locks import StateLock
from orchd.part import Context, Part, Roots
from orchd.threads import DaemonThreads

LOOK_TIMEOUT_S = 10.0
"""Looking at a file takes microseconds; longer means that the disk hangs."""


class GroundPart(Part):
    """Takes the lock before anything else is touched, and gives it back when everything has been closed."""

    name = "ground"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._lock = StateLock(context.state_dir)
        self._threads = DaemonThreads("state-lock")

    async def open(self) -> None:
        self._lock.acquire()

    def roots(self) -> Roots:
        return {"loop lag": self._context.lag.run()}

    async def keep_lock(self) -> bool:
        """Take the lock again if its file was removed; return whether it was."""
        return await self._threads.run(self._lock.keep, LOOK_TIMEOUT_S)

    async def close(self) -> None:
        await self._context.names.close()
        self._lock.release()
