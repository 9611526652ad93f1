"""A call that blocks and may hang, for code outside an event loop: made on a thread that the exit does not wait for.

Apart from `threads`, which needs asyncio: that takes longer to import than most commands to run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def call_within(work: Callable[[], T], timeout_s: float) -> T:
    """Call `work` on a daemon thread of its own and block until it is done. For code outside an event loop.

    Args:
        timeout_s: in seconds.

    Raises:
        TimeoutError: not done after `timeout_s`; the call continues, and the exit does not wait for it.
    """
    done: list[tuple[T] | BaseException] = []

    def run() -> None:
        try:
            done.append((work(),))
        except BaseException as exc:  # noqa: BLE001 - the caller gets it, whatever it is
            done.append(exc)

    thread = threading.Thread(target=run, name="call-within", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if not done:
        raise TimeoutError
    if isinstance(done[0], BaseException):
        raise done[0]
    return done[0][0]
