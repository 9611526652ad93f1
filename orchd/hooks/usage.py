"""What a session has used when it is settled. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from orchd.domain.money import PriceUnit
from orchd.hooks.account import Account

NS = 10**9
SECONDS_PER_UNIT = {PriceUnit.SECOND: 1, PriceUnit.HOUR: 3600, PriceUnit.VIDEO_720P: 3600}


class Measured(NamedTuple):
    """What `jobs` has measured of a session.

    Attributes:
        seconds: since the session began, on the clock of `JobHook.charge`.
        first_byte_s, status, held_s, code: as of `Usage`.
    """

    seconds: float
    first_byte_s: float | None = None
    status: int = 0
    held_s: float = 0.0
    code: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a session has used. Hooks get it in `settle`.

    Attributes:
        seconds: for which it was served: since it began, never less than the last `charge` was given. 0 = no hook
            would have been right to charge for it, as it was not admitted.
        units: the same by the unit of the account's price: seconds, hours, or 1 for a price per job or session; exact
            to the nanosecond.
        first_byte_s: seconds from the request's arrival to the first byte of the runner's answer; None = none came. 0 =
            it came to an earlier orchd.
        status: of the runner's answer; 0 = there was none, or an earlier orchd had it.
        held_s: seconds that the job has waited for a cold model.
        code: why orchd has ended the job, as in its `job_done` line; empty = it did not.
    """

    seconds: float
    units: Fraction
    first_byte_s: float | None
    status: int
    held_s: float
    code: str = ""


def usage_of(account: Account, served: Measured) -> Usage:
    """Return what is settled for a session that was served like this."""
    seconds, used = (served.seconds, units(account.unit, served.seconds)) if account.admitted else (0.0, Fraction(0))
    return Usage(seconds, used, served.first_byte_s, served.status, served.held_s, served.code)


def units(unit: PriceUnit, seconds: float) -> Fraction:
    """Return how many units of a price so many seconds are."""
    if unit is PriceUnit.FIXED:
        return Fraction(1)
    return Fraction(round(seconds * NS), NS * SECONDS_PER_UNIT[unit])
