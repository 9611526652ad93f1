"""An answer of a hook's own: any 4xx or 503, with headers and a JSON body. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from orchd.domain.redact import scrub
from orchd.errors import JOB_ANSWERS, Code, JobRefused

MAX_HEADERS = 32
MAX_NAME_LENGTH = 128
MAX_VALUE_LENGTH = 8192
MAX_HEADER_BYTES = 16 * 1024
"""Largest size of all names and values together: clients commonly read heads of 32 KiB or more."""
MAX_BODY_BYTES = 64 * 1024
MAX_MESSAGE_LENGTH = 1000
MAX_RETRY_AFTER_S = 2**31 - 1
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
"""Visible ASCII and blanks (RFC 9110, section 5.5): with no line break in it, nothing can be added to the head."""
_REASON = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
HOP_BY_HOP = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"),
        *("trailer", "transfer-encoding", "upgrade"),
    }
)
FRAMING = frozenset({"content-length", "content-type", "content-encoding", "content-range"})
OURS = frozenset({"date", "host", "expect", "retry-after", "livepeer-request-id", "livepeer-error", "livepeer-backoff"})
CREDENTIALS = frozenset({"authorization", "cookie", "set-cookie"})
FORBIDDEN = HOP_BY_HOP | FRAMING | OURS | CREDENTIALS


class Refusal(JobRefused):
    """Raised by a hook: the caller gets this answer, in the words of the door by which it came.

    Raises ValueError or TypeError where it can't be an answer, which refuses the job with 503 and names the hook in the
    log.

    Args:
        status: 400 to 499, or 503. At a door of the node's 401, 402, 480 and 482 go out as 403: to the node or its
            clients these mean something else.
        message: one sentence for people, at most 1000 characters; it stands in the log, and in the body unless that is
            the hook's own.
        headers: (name, value) in ASCII, at most 32 of 16 KiB together. None that frame the body, belong to the
            connection, are orchd's own, or hold credentials.
        body: what the body holds as JSON, at most 64 KiB; None = orchd's own error object.
        retry_after_s: whole seconds, 0 to 2**31 - 1; sent with a 429 or 503.
        code: for log and metrics, one of `errors.JOB_ANSWERS`; None = `payment_required` for a 402, else
            `hook_refused`.
        reason: a word for programs that is finer than the code, of 1 to 64 of a-z, 0-9 and _: the caller is told that
            instead of the code, and it is counted. Choose from a few; None = the code says it all.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: Mapping[str, Any] | None = None,
        retry_after_s: int = 1,
        code: Code | None = None,
        reason: str | None = None,
    ) -> None:
        if code is None:
            code = Code.PAYMENT_REQUIRED if status == 402 else Code.HOOK_REFUSED
        if not isinstance(message, str):
            raise TypeError(f"cannot refuse with a message of type {type(message).__name__}: it must be str")
        if type(status) is not int or type(retry_after_s) is not int or not 0 <= retry_after_s <= MAX_RETRY_AFTER_S:
            raise ValueError(
                "cannot refuse with this status or retry_after_s: both are whole numbers, and the latter is 0 to "
                f"{MAX_RETRY_AFTER_S} seconds"
            )
        super().__init__(code, message[:MAX_MESSAGE_LENGTH], retry_after_s=retry_after_s)
        if status != 503 and not 400 <= status <= 499:
            raise ValueError(f"cannot refuse with status {status}: it must be 400 to 499, or 503")
        if code not in JOB_ANSWERS:
            raise ValueError(f"cannot refuse with the code {code}: it is not one of `errors.JOB_ANSWERS`")
        if reason is not None and not _REASON.fullmatch(reason):
            raise ValueError(f"cannot refuse with the reason {reason[:80]!r}: it must be 1 to 64 of a-z, 0-9 and _")
        self._status = status
        self.reason = reason or ""
        self.headers = _checked(headers)
        self.body = None if body is None else _as_json(body)

    @property
    def status(self) -> int:
        """HTTP status of the answer."""
        return self._status

    @property
    def word(self) -> str:
        """The reason, or else the code."""
        return self.reason or self.code


def _checked(headers: Sequence[tuple[str, str]]) -> tuple[tuple[bytes, bytes], ...]:
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"cannot refuse with {len(headers)} headers: at most {MAX_HEADERS} can be given")
    size = 0
    for name, value in headers:
        shown = repr(name[:50])
        if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
            raise ValueError(f"cannot refuse with the header {shown}: this is no name of a header")
        if name.lower().replace("_", "-") in FORBIDDEN:
            raise ValueError(f"cannot refuse with the header {shown}: it is not the hook's to set")
        if len(value) > MAX_VALUE_LENGTH or not _VALUE.fullmatch(value):
            raise ValueError(
                f"cannot refuse with the header {shown}: its value must be at most {MAX_VALUE_LENGTH} visible ASCII "
                "characters"
            )
        if scrub(value) != value:
            raise ValueError(f"cannot refuse with the header {shown}: its value looks like a credential")
        size += len(name) + len(value)
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"cannot refuse with headers of {size} bytes: at most {MAX_HEADER_BYTES} can be given")
    return tuple((name.encode("ascii"), value.strip(" ").encode("ascii")) for name, value in headers)


def _as_json(body: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(dict(body), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ValueError(f"cannot refuse with this body: it is not JSON ({type(exc).__name__})") from exc
    if len(text) > MAX_BODY_BYTES:
        raise ValueError(f"cannot refuse with a body of {len(text)} bytes: at most {MAX_BODY_BYTES} can be given")
    if scrub(text) != text:
        raise ValueError("cannot refuse with this body: something in it looks like a credential")
    return text
