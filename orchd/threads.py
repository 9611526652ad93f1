"""Threads for calls that block and may hang: a driver, a disk, a mount, a name server. The exit does not wait for them.

`asyncio.to_thread` and `ThreadPoolExecutor` do not fit: the interpreter joins their threads when it exits, so one call
that never returns keeps the daemon from ending; and it occupies one of the few threads that all calls share.
Here each purpose has its own threads, up to a number that it chooses, so a call that hangs blocks only calls of the
same purpose. They are daemon threads, which end with the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _ThreadCall(Generic[T]):
    """One call that a thread is to make.

    Attributes:
        late: its caller has timed out; the result is dropped.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._loop = asyncio.get_running_loop()
        self._work = work
        self._context = contextvars.copy_context()
        self.future: asyncio.Future[T] = self._loop.create_future()
        self.late = False

    def run(self) -> None:
        """Make the call, on a thread, and pass its result or error to the caller's event loop."""
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._context.run(self._work)
        except BaseException as exc:  # noqa: BLE001 - the caller gets it, whatever it is
            error = exc
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits for the result
            self._loop.call_soon_threadsafe(self._finish, result, error)

    def _finish(self, result: Any, error: BaseException | None) -> None:
        if self.future.done():
            return  # cancelled by its caller
        if error is None:
            self.future.set_result(result)
        elif isinstance(error, StopIteration):  # A future refuses it, and its caller would wait for ever.
            failure = RuntimeError(f"cannot finish the call: it raised {error!r}")
            failure.__cause__ = error
            self.future.set_exception(failure)
        else:
            self.future.set_exception(error)


class DaemonThreads:
    """Threads for one purpose. If all are busy, calls wait in the order in which they came.

    Args:
        name: of the purpose, such as `nvml`; the threads are named after it.
        most: greatest number of threads; each is started when it is needed for the first time.
    """

    def __init__(self, name: str, most: int = 1) -> None:
        self._name = name
        self._most = most
        self._lock = threading.Condition()
        self._queue: deque[_ThreadCall[Any]] = deque()
        self._running: set[_ThreadCall[Any]] = set()
        self._threads = 0
        self._idle = 0
        self._closed = False

    @property
    def stuck(self) -> bool:
        """Whether every thread is occupied by a call that has timed out and still has not returned."""
        with self._lock:
            return len(self._running) == self._most and all(job.late for job in self._running)

    async def run(self, work: Callable[[], T], timeout_s: float | None = None) -> T:
        """Call `work` on one of the threads; return what it returns, or raise what it raises.

        A call that times out or is cancelled before it has begun is not made. One that has begun continues, and its
        thread is free only when it returns.

        Args:
            timeout_s: in seconds; None = no limit.

        Raises:
            TimeoutError: not done after `timeout_s`; or at once while all threads are `stuck`, since this call would
                most likely hang, too, and calls would pile up.
            RuntimeError: `close` was called.
        """
        if timeout_s is not None and self.stuck:
            raise TimeoutError
        job = _ThreadCall(work)
        self._submit(job)
        try:
            async with asyncio.timeout(timeout_s):
                return await job.future
        except TimeoutError:
            job.late = job.future.cancelled()  # else it is the work's own
            raise
        finally:
            self._withdraw(job)

    def close(self) -> None:
        """Take no more calls and let the threads end, without waiting. Calls that have not begun are cancelled."""
        with self._lock:
            self._closed = True
            left = [*self._queue]
            self._queue.clear()
            self._lock.notify_all()
        for job in left:
            job.future.cancel()

    def _submit(self, job: _ThreadCall[Any]) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError(f"cannot call anything on the threads for {self._name}: they are closed")
            self._queue.append(job)
            if self._idle >= len(self._queue) or self._threads == self._most:
                self._lock.notify()
                return
            self._threads += 1
            number = self._threads
        threading.Thread(target=self._work, name=f"{self._name}-{number}", daemon=True).start()

    def _withdraw(self, job: _ThreadCall[Any]) -> None:
        with self._lock, contextlib.suppress(ValueError):
            self._queue.remove(job)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            try:
                job.run()
            finally:
                with self._lock:
                    self._running.discard(job)

    def _next(self) -> _ThreadCall[Any] | None:
        with self._lock:
            self._idle += 1
            while not self._queue and not self._closed:
                self._lock.wait()
            self._idle -= 1
            if not self._queue:
                return None
            job = self._queue.popleft()
            self._running.add(job)
            return job
