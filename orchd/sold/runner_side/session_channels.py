"""The names of a session's channels. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from orchd.domain.random_names import random_name

MOST_NAME_LENGTH = 256
DEFAULT_MIME_TYPE = "application/octet-stream"
_CHANNEL_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_HALF = re.compile(r"[\ud800-\udfff]")
"""Half a character, which JSON can hold and nothing else can."""
_MIME_TYPE = re.compile(r"[!-~][ -~]{0,127}")
"""Visible ASCII: it becomes a header of each answer."""


@dataclass(frozen=True, slots=True)
class SessionChannel:
    """A channel of a session.

    Attributes:
        name: as its session calls it.
        channel_name: in URLs; who knows it can read and write the channel, so it is not shown.
        mime_type: of all its segments.
    """

    name: str
    channel_name: str = field(repr=False)
    mime_type: str = DEFAULT_MIME_TYPE


def new_channel(name: str, mime_type: str = "") -> SessionChannel:
    """Return a channel with a name that nobody can guess: 80 random bits, and the session's name for it where that
    fits into a URL as it is.

    Raises:
        ValueError: it can't have this name or this type.
    """
    if not 0 < len(name) <= MOST_NAME_LENGTH or _HALF.search(name):
        raise ValueError(f"cannot make a channel: its name must have 1 to {MOST_NAME_LENGTH} characters")
    if not _MIME_TYPE.fullmatch(mime_type or DEFAULT_MIME_TYPE):
        raise ValueError("cannot make a channel: its mime_type must be at most 128 visible ASCII characters")
    random = f"channel_{random_name(16)}"
    whole = f"{random}-{name}"
    return SessionChannel(name, whole if _CHANNEL_NAME.fullmatch(whole) else random, mime_type or DEFAULT_MIME_TYPE)
