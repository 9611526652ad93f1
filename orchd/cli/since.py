"""`--since TIME`: how long ago, or a date and time."""

from __future__ import annotations

import re
from datetime import datetime

from orchd.errors import Code, OrchdError

SINCE_HELP = "only what is no older: 90s, 10m, 2h, 3d, or a date and time"

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd])", re.ASCII)


def since_of(text: str, now: float) -> float:
    """Return the Unix time that is meant. A date without a zone is local time.

    Args:
        now: Unix time.

    Raises:
        OrchdError: `bad_request`: it can't be understood.
    """
    if ago := _AGO.fullmatch(text):
        return now - float(ago[1]) * _UNITS_S[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise OrchdError(
            f"cannot use {text[:100]!r} as --since: write how long ago (90s, 10m, 2h, 3d), or a date and time"
            " (2026-11-30T21:05:00Z; without a zone, it is local time)",
            code=Code.BAD_REQUEST,
        ) from None
