"""Every error that can reach an operator or a caller. Imports nothing of ours.

A class exists where somebody handles it differently. `code` is stable: it is the log field, the metric label, the
`Livepeer-Error` header and the `error` member of the JSON body. The codes of the public capability-broker protocol
are used where they fit (`capability_not_served`, `capacity_exhausted`, `backend_unavailable`, `internal_error`).
Messages start with "cannot" and name the thing and its value; they never contain a secret.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from enum import StrEnum


class Code(StrEnum):
    """All codes, so that metrics can be set to zero at start and tests can walk them."""

    # A job's way: each is one HTTP status (see `JobRefused.status`).
    UNKNOWN_MODEL = "capability_not_served"
    MODEL_NOT_NAMED = "model_not_named"
    BAD_REQUEST = "bad_request"
    FORBIDDEN = "forbidden"
    BODY_TOO_LARGE = "body_too_large"
    CAPACITY_EXHAUSTED = "capacity_exhausted"
    NOT_READY = "not_ready"
    HOLD_FULL = "hold_full"
    HOLD_TIMEOUT = "hold_timeout"
    DRAINING = "draining"
    STOPPED = "stopped"
    NOT_OFFERED = "not_offered"
    STREAM_RUNNING = "stream_running"
    STREAM_UNKNOWN = "stream_unknown"
    STREAM_ROUTE = "stream_route"
    SESSION_ENDED = "session_ended"
    CHANNELS_UNAVAILABLE = "channels_unavailable"
    HOOK_FAILED = "hook_failed"
    HOOK_REFUSED = "hook_refused"
    PAYMENT_REQUIRED = "payment_required"
    RATE_LIMITED = "rate_limited"
    ANSWER_LATE = "answer_late"
    SHUTTING_DOWN = "shutting_down"
    TOO_MANY_CONNECTIONS = "too_many_connections"
    HEADER_TOO_LARGE = "header_too_large"
    HEADER_TIMEOUT = "header_timeout"
    BACKEND_UNAVAILABLE = "backend_unavailable"
    BACKEND_CONNECT_TIMEOUT = "backend_connect_timeout"
    BACKEND_BROKE = "backend_broke"
    BACKEND_TIMEOUT = "backend_timeout"
    BACKEND_STALLED = "backend_stalled"
    BACKEND_UNUSABLE = "backend_unusable"
    BODY_STALLED = "body_stalled"
    BODY_TOO_SLOW = "body_too_slow"
    CALLER_STALLED = "caller_stalled"
    NODE_TIMEOUT = "node_timeout"
    EVENT_LINE_TOO_LONG = "event_line_too_long"
    INTERNAL = "internal_error"

    # The operator's file and settings.
    FILE_UNREADABLE = "file_unreadable"
    FILE_MALFORMED = "file_malformed"
    ENTRY_INVALID = "entry_invalid"
    SETTING_INVALID = "setting_invalid"
    SECRET_UNREADABLE = "secret_unreadable"  # noqa: S105 - a code, not a secret
    VOLUME_MISSING = "volume_missing"

    # Runtimes, stores, locks.
    ENGINE_UNAVAILABLE = "engine_unavailable"
    ENGINE_REFUSED = "engine_refused"
    IMAGE_UNAVAILABLE = "image_unavailable"
    REGISTRY_UNAVAILABLE = "registry_unavailable"
    LAUNCH_REFUSED = "launch_refused"
    GPU_UNAVAILABLE = "gpu_unavailable"
    ALREADY_RUNNING = "already_running"
    STORE_BROKEN = "store_broken"
    HOOK_INVALID = "hook_invalid"
    ADDRESS_IN_USE = "address_in_use"
    DAEMON_UNREACHABLE = "daemon_unreachable"
    RUNNERS_LEFT = "runners_left"

    # The node.
    NODE_UNREACHABLE = "node_unreachable"
    NODE_CERTIFICATE = "node_certificate"
    NODE_REFUSED = "node_refused"
    NODE_SECRET = "node_secret"  # noqa: S105 - a code, not a secret
    NODE_CURRENCY = "node_currency"
    NODE_GRANT = "node_grant"
    CALLBACK_UNREACHABLE = "callback_unreachable"
    NOT_SPOKEN = "registry_not_spoken"
    PRICE_UNPUBLISHABLE = "price_unpublishable"
    UNSERVABLE = "unservable"
    RATE_UNAVAILABLE = "rate_unavailable"
    RPC_UNAVAILABLE = "rpc_unavailable"
    UNKNOWN_TARGET = "unknown_target"


def reason_of(exc: OSError) -> str:
    """Return the system's own words for it, without those that a library puts around them."""
    return os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or str(exc)


class OrchdError(Exception):
    """Base of all our errors.

    Attributes:
        code: stable word for logs, metrics and bodies.
        message: one sentence for a person: what is wrong, with which value, and what to do.
    """

    code: Code = Code.INTERNAL

    def __init__(self, message: str, *, code: Code | None = None) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code


class SettingsError(OrchdError):
    """A setting is unknown, of the wrong type or out of range. The daemon does not start."""

    code = Code.SETTING_INVALID


class AlreadyRunning(OrchdError):
    """Another daemon holds the state directory or the instance; a person must decide which one stays."""

    code = Code.ALREADY_RUNNING


class StoreError(OrchdError):
    """The SQLite store can't be opened, migrated or written."""

    code = Code.STORE_BROKEN


class HookError(OrchdError):
    """A hook can't be loaded or opened. The daemon does not start."""

    code = Code.HOOK_INVALID


class EngineUnavailable(OrchdError):
    """The runtime can't be reached at all (Docker Engine down or silent). Retried; says nothing about containers."""

    code = Code.ENGINE_UNAVAILABLE


class LogGone(OrchdError):
    """A runner whose log was asked for has been removed."""

    code = Code.UNKNOWN_TARGET


class LaunchError(OrchdError):
    """A runner can't be prepared or started: image missing, arguments refused, no GPU. Retried with backoff."""

    code = Code.LAUNCH_REFUSED


PASSING = frozenset(
    {
        *(Code.ENGINE_UNAVAILABLE, Code.ENGINE_REFUSED, Code.REGISTRY_UNAVAILABLE, Code.GPU_UNAVAILABLE),
        Code.VOLUME_MISSING,
    }
)
"""Causes that end by themselves, or by somebody else's hand: no model is given up for one of them."""


class DaemonUnreachable(OrchdError):
    """A command can't reach the running daemon."""

    code = Code.DAEMON_UNREACHABLE


class RunnersLeft(OrchdError):
    """`orchd down` can't say that nothing of ours runs any more.

    Args:
        left: what may still run, each in words.
    """

    code = Code.RUNNERS_LEFT

    def __init__(self, left: Iterable[str]) -> None:
        super().__init__(
            f"cannot say that all runners are gone; still there, or not known: {'; '.join(left)}. Mend that, then run "
            "`orchd down` again"
        )


# Our own refusals are never 401: go-livepeer drops a capability for good when its worker answers 401.
JOB_ANSWERS: dict[Code, int] = {
    Code.UNKNOWN_MODEL: 404,
    Code.MODEL_NOT_NAMED: 400,
    Code.BAD_REQUEST: 400,
    Code.FORBIDDEN: 403,
    Code.BODY_TOO_LARGE: 413,
    Code.BODY_STALLED: 408,
    Code.BODY_TOO_SLOW: 408,
    Code.CALLER_STALLED: 408,
    Code.HEADER_TIMEOUT: 408,
    Code.HEADER_TOO_LARGE: 431,
    Code.CAPACITY_EXHAUSTED: 503,
    Code.NOT_READY: 503,
    Code.HOLD_FULL: 503,
    Code.HOLD_TIMEOUT: 503,
    Code.DRAINING: 503,
    Code.STOPPED: 503,
    Code.NOT_OFFERED: 503,
    Code.STREAM_RUNNING: 503,
    Code.STREAM_UNKNOWN: 404,
    Code.STREAM_ROUTE: 403,
    Code.SESSION_ENDED: 503,
    Code.CHANNELS_UNAVAILABLE: 503,
    Code.HOOK_FAILED: 503,
    Code.HOOK_REFUSED: 403,
    Code.PAYMENT_REQUIRED: 402,
    Code.RATE_LIMITED: 429,
    Code.ANSWER_LATE: 503,
    Code.SHUTTING_DOWN: 503,
    Code.TOO_MANY_CONNECTIONS: 503,
    Code.BACKEND_UNAVAILABLE: 502,
    Code.BACKEND_BROKE: 502,
    Code.BACKEND_UNUSABLE: 502,
    Code.EVENT_LINE_TOO_LONG: 502,
    Code.BACKEND_CONNECT_TIMEOUT: 504,
    Code.BACKEND_TIMEOUT: 504,
    Code.BACKEND_STALLED: 504,
    Code.NODE_TIMEOUT: 504,
    Code.INTERNAL: 500,
}
"""HTTP status of each code with which a job may be refused."""

RETRY_AFTER_S: dict[Code, int] = {Code.STOPPED: 300}
"""After how many seconds a caller may try again, where that is not 1: a person has to start the model again."""


class JobRefused(OrchdError):
    """A job gets an answer of our own instead of the runner's. `code` is one of `JOB_ANSWERS`.

    Attributes:
        retry_after_s: whole seconds for `Retry-After` and `Livepeer-Backoff`; sent with every 429 and 503. Unless
            given, as `RETRY_AFTER_S` says.
    """

    def __init__(self, code: Code, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message, code=code)
        self.retry_after_s = RETRY_AFTER_S.get(code, 1) if retry_after_s is None else retry_after_s

    @property
    def status(self) -> int:
        """HTTP status of the answer, 400 to 504."""
        return JOB_ANSWERS[self.code]

    @property
    def word(self) -> str:
        """What programs are told: `error` in the body, and `Livepeer-Error`."""
        return self.code
