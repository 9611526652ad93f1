"""EDGE. A known number of bytes from one socket to another inside the kernel, where it can: Linux's splice, by a pipe.

It works on duplicates of the two connections' descriptors, since a loop watches a transport's own ones itself. While it
runs, nothing else reads from the one connection or writes to the other.

How: bytes go from the source socket into a pipe, and from the pipe to the sink socket, without being copied to us. Both
calls are non-blocking. If the sink takes no more, what is in the pipe waits there and the loop watches the sink; else
it watches the source. `_in_pipe` is what has been read and not written: if a splice is stopped then, those bytes are
lost, and the pipe can't be used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
from collections.abc import Callable

from orchd.reasons import why

WORTH_BYTES = 128 * 1024
"""Below this, the system calls for setting up cost more than copying."""

_PIPE_BYTES = 256 * 1024  # As much as stays in a processor's cache until it is read: a bigger one is slower.
_TURN_BYTES = 4 * 1024 * 1024  # Then others get their turn.
_TURN_ROUNDS = 64  # As many as small pieces take, of which a pipe holds few bytes.
_FLAGS = 0x01 | 0x02  # SPLICE_F_MOVE, SPLICE_F_NONBLOCK

available = hasattr(os, "splice")


class SourceEnded(Exception):
    """The sender closed or lost its connection before all bytes had come."""


class SinkBroke(Exception):
    """The receiver's connection is lost."""


class Pipes:
    """Pipes that are empty and can be used again."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._free: list[tuple[int, int]] = []

    def take(self) -> tuple[int, int]:
        """Return a pipe, as its two ends: one that is free, or a new one.

        Raises:
            OSError: no descriptors are left.
        """
        if self._free:
            return self._free.pop()
        ends = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        with contextlib.suppress(OSError):  # The user's share of pipe memory is spent; the default size works too.
            fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return ends

    def give_back(self, ends: tuple[int, int], *, empty: bool) -> None:
        if empty and len(self._free) < self._most:
            self._free.append(ends)
        else:
            for end in ends:
                os.close(end)

    def close(self) -> None:
        while self._free:
            self.give_back(self._free.pop(), empty=False)


class Splice:
    """Moves `left` bytes from `source` to `sink` (non-blocking sockets), then calls `done` once; see `start`.

    Args:
        moved: this many bytes have reached the sink's socket.
        blocked: `waits_for_sink` has changed.
        done: None, or SourceEnded or SinkBroke. Never called after `stop`.

    Attributes:
        waits_for_sink: it is the receiver that holds things up.
    """

    __slots__ = (
        "_blocked", "_done", "_ends", "_in_pipe", "_loop", "_moved", "_pipes", "_reads", "_sink", "_source", "_to_read",
        "_writes", "waits_for_sink",
    )  # fmt: skip

    def __init__(
        self,
        pipes: Pipes,
        source: int,
        sink: int,
        left: int,
        *,
        moved: Callable[[int], None],
        blocked: Callable[[], None],
        done: Callable[[Exception | None], None],
    ) -> None:
        """Raises:
        OSError: no pipe can be had.
        """
        self._loop = asyncio.get_running_loop()
        self._pipes = pipes
        self._ends = pipes.take()
        self._source, self._sink = source, sink
        self._to_read, self._in_pipe = left, 0
        self._moved, self._blocked, self._done = moved, blocked, done
        self._reads = self._writes = False
        self.waits_for_sink = False

    def start(self) -> None:
        """Move what can be moved at once, which may be all of it; from then on whenever something can be."""
        self._step()

    def stop(self) -> None:
        """Let go of both sockets; bytes that are in the pipe are lost. No callback comes after that."""
        if self._source >= 0:
            self._watch_source(False)
            self._watch_sink(False)
            self._source = -1
            self._pipes.give_back(self._ends, empty=not self._in_pipe)

    def _step(self) -> None:
        """Move what can be moved now; tell of it once."""
        left = self._to_read + self._in_pipe
        why = self._pump()
        if moved := left - self._to_read - self._in_pipe:
            self._moved(moved)
        if self._source < 0:
            return None  # The callback has stopped it.
        if why is not None or not (self._to_read or self._in_pipe):
            return self._end(why)
        # Its bytes don't tell how many more the pipe takes, as it may be full of small pieces: it is emptied first.
        return self._wait(sink=self._in_pipe > 0)

    def _pump(self) -> Exception | None:
        """Fill the pipe and empty it, until all is out, one of the two would block, or it is the turn of others; return
        what broke.
        """
        source, sink, (out, into) = self._source, self._sink, self._ends
        to_read, in_pipe = self._to_read, self._in_pipe
        until = to_read + in_pipe - _TURN_BYTES  # When this much is left, it is the turn of others.
        try:
            for _ in range(_TURN_ROUNDS):
                if to_read + in_pipe <= until:
                    break
                came = 0
                if room := min(to_read, _PIPE_BYTES - in_pipe):
                    try:
                        came = os.splice(source, into, room, flags=_FLAGS)
                    except BlockingIOError:
                        pass  # Nothing there, or no room in the pipe.
                    except OSError as exc:
                        return SourceEnded(why(exc))
                    else:
                        if not came:
                            return SourceEnded("closed")
                        to_read -= came
                        in_pipe += came
                if not in_pipe:
                    return None
                try:
                    in_pipe -= os.splice(out, sink, in_pipe, flags=_FLAGS)
                except BlockingIOError:
                    return None
                except OSError as exc:
                    return SinkBroke(why(exc))
            return None
        finally:
            self._to_read, self._in_pipe = to_read, in_pipe

    def _wait(self, *, sink: bool) -> None:
        self._watch_source(not sink)
        self._watch_sink(sink)
        if self.waits_for_sink is not sink:
            self.waits_for_sink = sink
            self._blocked()

    def _end(self, why: Exception | None) -> None:
        self.stop()
        self._done(why)

    def _watch_source(self, on: bool) -> None:
        if on is not self._reads:
            self._reads = on
            if on:
                self._loop.add_reader(self._source, self._step)
            else:
                self._loop.remove_reader(self._source)

    def _watch_sink(self, on: bool) -> None:
        if on is not self._writes:
            self._writes = on
            if on:
                self._loop.add_writer(self._sink, self._step)
            else:
                self._loop.remove_writer(self._sink)
