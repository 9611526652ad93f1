"""What must not be shown, and how it is taken out of text that others wrote (a runner's log lines or health body)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from orchd.domain.model import ExternalLaunch, Model

REDACTED = "***"

_SECRET_NAME = re.compile(
    r"token|secret|passw|authori[sz]ation|credential|api_?key|access_?key|private_?key|cookie", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer)\s+[\w.~+/=-]{16,}", re.IGNORECASE)

_BEARER_BYTES = re.compile(_BEARER.pattern.encode(), re.IGNORECASE)
_BEARER_BEGUN = re.compile(rb"\bb(?:e(?:a(?:r(?:e(?:r(?:\s+[\w.~+/=-]*)?)?)?)?)?)?\Z", re.IGNORECASE)
_LONGEST_BEARER = 8192
"""Bytes; a longer one is given up as not being a token."""

_SHORTEST = 6
"""Characters; a shorter value (`1`, `true`) is not a secret, and taking it out would only garble text."""


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Return whether a value of this name (header, variable, log field) is to be taken for a secret."""
    return _SECRET_NAME.search(name) is not None


def secrets_of(model: Model) -> frozenset[str]:
    """Return the secret values that an entry gives its runner: its token, and variables that are named like one."""
    env = () if isinstance(model.launch, ExternalLaunch) else model.launch.env
    return secret_values(model.token.value if model.token else None, env)


def secret_values(token: str | None, env: Iterable[tuple[str, str]]) -> frozenset[str]:
    """As `secrets_of`, for what a definition is made of."""
    values = {token or "", *(value for name, value in env if is_secret_name(name))}
    return frozenset(value for value in values if len(value) >= _SHORTEST)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without `secrets` and without anything that looks like an `Authorization` value."""
    if secrets:
        for secret in sorted(secrets, key=len, reverse=True):  # One may begin as another one that is longer.
            text = text.replace(secret, REDACTED)
    if is_clean(text):
        return text
    return _BEARER.sub(rf"\1 {REDACTED}", text)


def is_clean(text: str) -> bool:
    """Return whether nothing in it can look like an `Authorization` value. A search takes ten times longer."""
    return "bearer" not in text.lower()


class Scrubber:
    """As `scrub`, for bytes that come in pieces: a secret may begin in one and end in another.

    What may be the beginning of a secret is held back until it is known whether it is one.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({secret.encode() for secret in secrets}, key=len, reverse=True)
        self._held = b""

    def feed(self, piece: bytes) -> bytes:
        """Return what may be shown by now."""
        text = self._held + piece
        for secret in self._secrets:
            text = text.replace(secret, REDACTED.encode())
        at = len(text) - max(self._begun(text), self._bearer_begun(text))
        self._held = text[at:]
        return self._without_bearer(text[:at])

    def end(self) -> bytes:
        """Return the rest. The greater part of a secret is not shown either."""
        rest, self._held = self._held, b""
        begun = self._begun(rest)
        if begun >= _SHORTEST:
            rest = rest[: len(rest) - begun] + REDACTED.encode()
        return self._without_bearer(rest)

    @staticmethod
    def _without_bearer(text: bytes) -> bytes:
        return _BEARER_BYTES.sub(rb"\1 ***", text) if b"bearer" in text.lower() else text

    def _begun(self, text: bytes) -> int:
        """Return how many bytes at the end of `text` could be the beginning of a secret."""
        return max((_begun_of(secret, text) for secret in self._secrets), default=0)

    @staticmethod
    def _bearer_begun(text: bytes) -> int:
        found = _BEARER_BEGUN.search(text, max(0, len(text) - _LONGEST_BEARER))
        return len(text) - found.start() if found else 0


def _begun_of(secret: bytes, text: bytes) -> int:
    """Return how many bytes at the end of `text` a secret begins with; a long secret costs no more than a short one."""
    start = secret[:_SHORTEST]
    at = text.find(start, max(0, len(text) - len(secret) + 1))
    while at >= 0 and not secret.startswith(text[at:]):
        at = text.find(start, at + 1)
    if at >= 0:
        return len(text) - at
    return next((size for size in range(_SHORTEST - 1, 0, -1) if text.endswith(secret[:size])), 0)


_ADDRESS = re.compile(
    r"(?P<url>\b[A-Za-z][A-Za-z0-9+.-]{0,15}://[^\s/?#\"'<>\\()]{0,254}[^\s/?#\"'<>\\():,.;])(?P<path>[/?#])?"
    r"|(?<![\w.:-])(?:localhost|(?:[0-9]{1,3}\.){3}[0-9]{1,3}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?(?![\w-])"
    r"|(?<![\w.:-])[A-Za-z0-9][A-Za-z0-9.-]{0,253}:[0-9]{2,5}(?=/)"
    r"|(?<![\w.:-])(?P<six>[0-9A-Fa-f]{0,4}:[0-9A-Fa-f:.]{1,40})(?![\w:])"
)


_MAY_HOLD_ADDRESS = re.compile(r"://|localhost|[0-9]\.[0-9]|:[0-9A-Fa-f:]")
"""Ten times faster than the search above, and most texts hold nothing like it."""


@lru_cache(maxsize=512)
def without_addresses(text: str) -> str:
    """Return `text` without addresses of machines, for who must not know where runners are; a URL's path stays."""
    return _ADDRESS.sub(_without_address, text) if _MAY_HOLD_ADDRESS.search(text) else text


def _without_address(found: re.Match[str]) -> str:
    if (six := found["six"]) is not None:
        try:
            ip_address(six.rstrip(".:") if not six.endswith("::") else six)
        except ValueError:
            return found[0]
    return found["path"] or "its address"
