"""How many files and connections this process may have open: raised at start for orchd itself, not for its runners.

The usual soft limit is 1024, which is fewer connections than orchd serves; the hard limit is what the system allows.
Runners get the original one back: programs that call select() break on descriptors past 1024, and some walk through all
possible descriptors when they start.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass

RESERVED = 256
"""Descriptors for everything but jobs: listeners, the store, logs, Docker, probes, the node, libraries."""

PER_CALLER = 6
"""Descriptors that a caller's job takes at most: its socket and the runner's, each with a duplicate, and a pipe."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Attributes:
    original: soft limit of open files when orchd was started.
    now: soft limit now.
    """

    original: int
    now: int


_original: int | None = None


def raise_open_files() -> Limits:
    """Raise the soft limit of open files to the hard one. Safe to repeat: the original is that of the first call."""
    global _original  # noqa: PLW0603 - the limit is the process's own
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _original is None:
        _original = soft
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):  # an unlimited hard limit can be more than the kernel gives
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return Limits(_original, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def open_files() -> int | None:
    """Return how many files and connections may be open now; None = any number."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft


def most_connections(wanted: int, open_files: int | None) -> int:
    """Return how many callers can be connected at once so that no job runs out of descriptors. Pure.

    Args:
        wanted: the setting `jobs.max_connections`.
        open_files: the limit; None = there is none.
    """
    if open_files is None:
        return wanted
    return max(1, min(wanted, (open_files - RESERVED) // PER_CALLER))


def give_back_open_files(pid: int) -> None:
    """Give the child `pid` the soft limit that orchd had before it was raised; nothing if it was not raised.

    Done from outside right after the child's exec: code that runs in the child before its exec would need a fork of the
    whole daemon, threads and all.
    """
    if _original is None:
        return
    with contextlib.suppress(OSError):  # ended already, or made itself another user's
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (_original, hard))
