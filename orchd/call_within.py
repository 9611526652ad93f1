"""Calls that block and may hang, for code outside an event loop: made on threads that the exit does not wait for.

Apart from `threads`, which needs asyncio: that takes longer to import than most commands to run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Begun(Generic[T]):
    """A call that has begun, on a daemon thread of its own."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self._done: list[tuple[T] | BaseException] = []
        self._thread = threading.Thread(target=self._run, name="call-within", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._done.append((self._work(),))
        except BaseException as exc:  # noqa: BLE001 - the caller gets it, whatever it is
            self._done.append(exc)

    def result(self, timeout_s: float) -> T:
        """Block until it is done; return what it returns, or raise what it raises.

        Args:
            timeout_s: in seconds.

        Raises:
            TimeoutError: not done after `timeout_s`; the call continues, and the exit does not wait for it.
        """
        self._thread.join(timeout_s)
        if not self._done:
            raise TimeoutError
        done = self._done[0]
        if isinstance(done, BaseException):
            raise done
        return done[0]


def call_within(work: Callable[[], T], timeout_s: float) -> T:
    """Call `work` on a thread of its own and block until it is done; see `Begun.result`."""
    return Begun(work).result(timeout_s)
