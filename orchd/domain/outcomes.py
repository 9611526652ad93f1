"""How a job or session can end."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Outcome(StrEnum):
    """How a job or session ended: the `outcome` label. One word each, no matter who caused it."""

    OK = "ok"
    """The runner's whole answer reached the caller, and its status was not 500 to 599."""
    RUNNER_ERROR = "runner_error"
    """As `OK`, but the runner itself said by its status (500 to 599) that it has failed."""
    REFUSED = "refused"
    """Our own answer: no slot, not ready, hook, bad request."""
    CLIENT_GONE = "client_gone"
    BACKEND_FAILED = "backend_failed"
    TIMEOUT = "timeout"
    ABORTED = "aborted"
    """Cut by orchd: drain deadline, runner gone, the node gone that had reserved the session, shutdown."""
    ERROR = "error"
    """A bug of ours."""


Cut = Callable[[str, str], None]
"""Ends a request that is under way, soon; only the first call counts. Gets why, and the same in a word for programs if
it is the end of its session that ends it; empty = it is not."""
