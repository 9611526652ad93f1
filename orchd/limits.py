"""How many files and connections this process may have open. orchd raises the limit at start, but not for its runners.

The usual soft limit is 1024, which is fewer connections than orchd serves; the hard limit is what the system allows.
Runners get the original limit: programs that call select() break on descriptors above 1024, and some loop over all
possible descriptors when they start.
"""

from __future__ import annotations

import contextlib
import resource
from dataclasses import dataclass

RESERVED = 256
"""Descriptors for everything except jobs: listeners, the database, logs, Docker, probes, the node, libraries."""

PER_CALLER = 6
"""Most descriptors that one caller's job takes: its socket and the runner's, each with a duplicate, and a pipe."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The soft limit of open files.

    Attributes:
        original: when orchd was started.
        now: after it was raised.
    """

    original: int
    now: int


_original: int | None = None


def raise_open_files() -> Limits:
    """Raise the soft limit of open files to the hard one. Repeats are fine: `original` is that of the first call."""
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
    """Return how many callers may be connected at once so that no job runs out of descriptors. Pure.

    Args:
        wanted: the setting `max_connections` of the listener.
        open_files: the limit; None = there is none.
    """
    if open_files is None:
        return wanted
    return max(1, min(wanted, (open_files - RESERVED) // PER_CALLER))


def share(open_files: int | None, wanted: int, others: int) -> int | None:
    """Return how many files one of two listeners may count on, so that neither takes the other's connections. Pure.

    Args:
        open_files: the limit for both; None = there is none.
        wanted, others: how many connections each of them may have by the settings.
    """
    if open_files is None:
        return None
    return RESERVED + max(0, open_files - RESERVED) * wanted // (wanted + others)


def give_back_open_files(pid: int) -> None:
    """Give the child process `pid` the soft limit that orchd had before it was raised, if it was raised.

    This is done from outside, right after the child's exec: to do it in the child before its exec would need a fork of
    the whole daemon with all its threads.
    """
    if _original is None:
        return
    with contextlib.suppress(OSError):  # it has ended, or has changed its user
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (_original, hard))
