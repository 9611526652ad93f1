"""`--since TIME`: how long ago, or a date and time."""

from __future__ import annotations

import re

from orchd.errors import Code, OrchdError

SINCE_HELP = "only what is not older: 90s, 10m, 2h, 1d, or a time: 2026-11-30T21:00:00Z"

_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:[0-9]{1,9}(?:\.[0-9]{1,9})?[smhd])+")


def since_of(text: str, now: float) -> float:
    """Return the Unix time that a duration before `now`, or a date and time (local without a zone), means.

    Raises:
        OrchdError: `setting_invalid`: it can't be understood, or has not come yet.
    """
    if _DURATION.fullmatch(text):
        return now - sum(float(n) * _UNIT_S[unit] for n, unit in re.findall(r"([\d.]+)([smhd])", text))
    from datetime import datetime

    try:
        at = datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError, OSError):
        raise _unusable(
            text, "it should be a length of time (90s, 10m, 2h, 1d) or a time (2026-11-30T21:00:00Z)"
        ) from None
    if at > now:
        raise _unusable(text, "that time has not come yet")
    return at


def _unusable(text: str, why: str) -> OrchdError:
    return OrchdError(f"cannot use --since {text[:100]!r}: {why}", code=Code.SETTING_INVALID)
