"""One way to interrupt a job: a deadline that moves with what is waited for, and a cut from outside."""

from __future__ import annotations

import asyncio
from types import TracebackType

from orchd.errors import Code, JobRefused


class Fuse:
    """An async context; a deadline that passes, or `cut`, raises the reason out of it.

    A cancel from outside wins over both and stays a CancelledError.
    """

    def __init__(self) -> None:
        self._scope = asyncio.timeout(None)
        self._clock = asyncio.get_running_loop().time
        self._burning = False
        self._why: Exception | None = None
        self._seconds: float | None = None
        self._late = (Code.INTERNAL, "")

    async def __aenter__(self) -> Fuse:
        await self._scope.__aenter__()
        self._burning = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._burning = False
        try:
            await self._scope.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise self._why or JobRefused(*self._late) from error

    def within(self, seconds: float | None, code: Code = Code.INTERNAL, message: str = "") -> None:
        """Move the deadline to `seconds` from now (None = none), and say what it means that it passes."""
        self._seconds, self._late = seconds, (code, message)
        self.again()

    def again(self) -> None:
        """Something moved: the time of the last `within` begins anew."""
        if self._burning and self._why is None and not self._scope.expired():
            self._scope.reschedule(None if self._seconds is None else self._clock() + self._seconds)

    def cut(self, why: Exception) -> None:
        """Raise `why` out of the context as soon as it waits. Only the first cut counts; later than its end, none."""
        if self._burning and self._why is None and not self._scope.expired():
            self._why = why
            self._scope.reschedule(self._clock())
