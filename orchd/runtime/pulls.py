"""What an engine tells while it pulls an image, in words for a person. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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


# In this order: the first whose words occur in the engine's own decides.
_CAUSES: tuple[tuple[tuple[str, ...], str], ...] = (
    (("no space left",), "no space is left on the engine's disk; make room (docker system df shows what takes it)"),
    (("toomanyrequests", "too many requests"), "the registry's rate limit is reached; wait, or docker login"),
    (("pull access denied",), "there is no such repository, or it needs a login; check the name, or docker login"),
    (("no matching manifest",), "it has no variant for this machine's processor"),
    (("manifest unknown", "not found", "name unknown", "does not exist"), "the registry has no such image or tag"),
    (
        ("unauthorized", "authentication required", "no basic auth", "denied", "credentials"),
        "the registry refuses us; docker login as the user that runs orchd",
    ),
    (
        (
            "dial tcp",
            "no such host",
            "connection refused",
            "connection reset",
            "timeout",
            "context deadline",
            "tls",
            "x509",
            "eof",
            "no route",
        ),
        "its registry can't be reached",
    ),
    (("invalid reference", "repository name", "invalid tag"), "this is not the name of an image"),
)


def pull_failure(image: str, reason: str) -> str:
    """Return why `image` can't be pulled, in plain words and then the engine's own."""
    lower = reason.lower()
    cause = next((cause for words, cause in _CAUSES if any(word in lower for word in words)), "the engine refused")
    return f"cannot pull {image}: {cause} (Docker says: {reason})"
