"""What an engine reports while it pulls an image, in words for a person. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchd.errors import Code, LaunchError

MB = 1_000_000


class PullProgress:
    """Adds up the engine's progress messages of one pull."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._done: dict[str, bool] = {}
        self._bytes: dict[str, tuple[int, int]] = {}

    def take(self, message: Mapping[str, Any]) -> None:
        """Take one message of the stream, as decoded JSON."""
        layer, status = message.get("id"), message.get("status", "")
        if layer is None or not _about_a_layer(status):
            return
        self._done[layer] = status in ("Pull complete", "Already exists")
        detail = message.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self._bytes[layer] = (detail.get("current", 0), detail["total"])
        elif status in ("Download complete", "Extracting", "Pull complete") and layer in self._bytes:
            total = self._bytes[layer][1]
            self._bytes[layer] = (total, total)

    def line(self) -> str:
        """Return one line: `pulling IMAGE 3/7 layers 120 of 800 MB`; sizes only of layers that began to download."""
        line = f"pulling {self._image}"
        if self._done:
            line += f" {sum(self._done.values())}/{len(self._done)} layers"
        if self._bytes:
            current, total = (sum(column) / MB for column in zip(*self._bytes.values(), strict=True))
            line += f" {current:.0f} of {total:.0f} MB"
        return line


def _about_a_layer(status: str) -> bool:
    return status in (
        "Pulling fs layer",
        "Waiting",
        "Downloading",
        "Verifying Checksum",
        "Download complete",
        "Extracting",
        "Pull complete",
        "Already exists",
    )


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why a pull fails, by the words of the engine.

    Attributes:
        words: lower case; one of them in the engine's own text is enough.
        means: in plain words, with what to do.
        passes: no action is needed: the registry, or the way to it, is away for now.
    """

    words: tuple[str, ...]
    means: str
    passes: bool = False


_RATE_LIMIT = _Cause(
    ("toomanyrequests", "too many requests"), "the registry's rate limit is reached; wait, or docker login", passes=True
)
_AWAY = _Cause(
    (
        *("dial tcp", "no such host", "connection refused", "connection reset", "timeout", "timed out", "eof"),
        *("context deadline", "deadline exceeded", "no route", "network is unreachable", "server misbehaving"),
    ),
    "its registry can't be reached",
    passes=True,
)
_BROKEN = _Cause((), "its registry is broken for now", passes=True)
_NOT_THERE = _Cause(
    ("manifest unknown", "not found", "name unknown", "does not exist"), "the registry has no such image or tag"
)
_REFUSED = _Cause(
    ("unauthorized", "authentication required", "no basic auth", "denied"),
    "the registry refuses us; docker login as the user that runs orchd, with an account that may pull this image",
)
_NO_ACCESS = _Cause(
    ("pull access denied",), "there is no such repository, or it needs a login; check the name, or docker login"
)
# In this order: the first that fits decides.
_CAUSES = (
    _Cause(
        ("no space left",), "no space is left on the engine's disk; make room (docker system df shows what takes it)"
    ),
    _RATE_LIMIT,
    _NO_ACCESS,
    _Cause(("no matching manifest",), "it has no variant for this machine's processor"),
    _NOT_THERE,
    _REFUSED,
    _Cause(
        ("x509", "certificate", "http response to https client"),
        "Docker does not trust its registry's certificate; see certs.d and insecure-registries in Docker's manual",
    ),
    _AWAY,
    _Cause(("tls",), "its registry can't be reached over TLS"),
    _Cause(("invalid reference", "repository name", "invalid tag"), "this is not the name of an image"),
)
_BY_STATUS = {401: _REFUSED, 403: _REFUSED, 404: _NOT_THERE, 408: _AWAY, 429: _RATE_LIMIT}
_STATUS = re.compile(r"[:\s](\d{3})(?![\d/.:])")
"""The registry's own HTTP status, behind the word `http` (Docker Engine 20) or `status` (with containerd)."""

_UNKNOWN = _Cause((), "the engine refused")
_NEED_CREDENTIALS = (_REFUSED, _NO_ACCESS, _NOT_THERE)
"""Private images are often told as if they were not there."""


def _cause_of(image: str, reason: str) -> _Cause:
    lower = reason.lower().replace(image.lower(), " ")  # An image may be called "timeout".
    if told := re.search(r"\b(?:http|status)\b", lower):
        for status in map(int, _STATUS.findall(lower, told.end())):
            if known := _BROKEN if 500 <= status <= 599 else _BY_STATUS.get(status):
                return known
    return next((cause for cause in _CAUSES if any(word in lower for word in cause.words)), _UNKNOWN)


def pull_error(image: str, reason: str, no_credentials: str = "") -> LaunchError:
    """Return why `image` can't be pulled, in plain words and then the engine's own.

    Its code is `registry_unavailable` where the cause will pass by itself, else `image_unavailable`.

    Args:
        no_credentials: why there were none for its registry; empty = nothing was wrong with them.
    """
    cause = _cause_of(image, reason)
    means = cause.means
    if no_credentials and cause in _NEED_CREDENTIALS:
        means = f"it was asked for without credentials, since {no_credentials}"
    code = Code.REGISTRY_UNAVAILABLE if cause.passes else Code.IMAGE_UNAVAILABLE
    return LaunchError(f"cannot pull {image}: {means} (Docker says: {reason})", code=code)
