"""Work that would hold the event loop for long, done in pieces; who asks for it meanwhile shares it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

from orchd.tasks import spawn

T = TypeVar("T")

PIECE_BYTES = 8_192
"""Characters made at most between two pauses, and one piece more."""

PIECES = 8
"""Pieces (models, usually) at most between two pauses. One takes 10 us if its text is kept, else 100 us."""

PAUSES_AT_ONCE = 4
"""Of this many pauses, one waits for `WAIT_S`: after half a millisecond of work, usually."""

WAIT_S = 0.001
"""uvloop's timers know no shorter time. A page of a thousand models takes 0.1 s by it."""

CHUNK_BYTES = 65_536
"""About the size of the parts in which a page is handed out."""

Pause = Callable[[], Awaitable[None]]
"""Lets the event loop do what is due."""

Steps = Generator[None, None, T]
"""Work that yields where a pause is due, and returns its result."""


class Pauses:
    """A `Pause` that now and then waits for a moment: page after page takes a fifth of the loop, not all of it.

    Without that wait the process would never sleep while pages are asked for. A job would meet a piece at each of its
    steps, and the kernel would let other programs go first, the job's runner and its caller too.
    """

    def __init__(self) -> None:
        self._count = 0

    async def __call__(self) -> None:
        self._count += 1
        await asyncio.sleep(0 if self._count % PAUSES_AT_ONCE else WAIT_S)


async def with_pauses(steps: Steps[T], pause: Pause) -> T:
    """Return the result; the event loop runs at each step."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result
        await pause()


def at_once(steps: Steps[T]) -> T:
    """Return the result without pauses: for a program that has nothing else to do."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result


class Measure:
    """Tells when a pause is due."""

    def __init__(self) -> None:
        self._bytes = self._pieces = 0

    def due(self, size: int) -> bool:
        """Count a piece of so many characters; return whether a pause is due after it."""
        self._bytes += size
        self._pieces += 1
        if self._bytes < PIECE_BYTES and self._pieces < PIECES:
            return False
        self._bytes = self._pieces = 0
        return True


def chunks(texts: Iterable[str]) -> Iterator[bytes]:
    """Yield the texts joined, in chunks of about `CHUNK_BYTES`."""
    some: list[str] = []
    size = 0
    for text in texts:
        some.append(text)
        size += len(text)
        if size >= CHUNK_BYTES:
            yield "".join(some).encode()
            some, size = [], 0
    if some:
        yield "".join(some).encode()


class Shared(Generic[T]):
    """Does some work when it is asked for, once at a time.

    Args:
        name: of its task.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._under_way: asyncio.Task[T] | None = None

    @property
    def idle(self) -> bool:
        """None is under way: the next one that asks begins it."""
        return self._under_way is None

    async def result(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Return what the work under way comes to; without any, `work` is begun.

        Raises:
            Exception: what the work raises, to each that waits for it. The next one that asks tries again.
        """
        if self._under_way is None:
            self._under_way = spawn(work(), name=self._name)
            self._under_way.add_done_callback(self._done)
        # Shielded: if one that waits leaves, the others still want it.
        return await asyncio.shield(self._under_way)

    def _done(self, task: asyncio.Task[T]) -> None:
        self._under_way = None
