"""What is to be said of a runner that is ready by its verdict, while its probes fail and are tolerated. Pure.

Words that stay the same until something else is known, so that who watches is not told of each probe: when it began,
and not for how long it has been so.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchd.domain.ports import ProbeWord
from orchd.health.verdict import FAILURES


@dataclass(frozen=True, slots=True)
class ToleratedProbes:
    """Probes that failed in a row while the verdict stayed.

    Attributes:
        since: loop clock, when the first of them began; None = the last probe did not fail.
        at: the same as a time of day.
        failed, tolerated: how many there were; how many of them did not count.
        said: what is to be said; empty = nothing.
    """

    since: float | None = None
    at: str = ""
    failed: int = 0
    tolerated: int = 0
    said: str = ""


NONE_FAILED = ToleratedProbes()


def doubt(before: ToleratedProbes, word: ProbeWord, began: tuple[float, str], why: str, most: int) -> ToleratedProbes:
    """Return the doubt after one more probe.

    Nothing is said before as many failed as would make it unhealthy: a busy runner is often late once.

    Args:
        began: when the probe began, by the loop's clock and as a time of day.
        why: why it does not count, in words; empty = it counts.
        most: so many failures in a row make a runner unhealthy.
    """
    if word not in FAILURES:
        return NONE_FAILED
    since, at = began if before.since is None else (before.since, before.at)
    failed, tolerated = before.failed + 1, before.tolerated + bool(why)
    said = ""
    if tolerated and failed >= most:
        said = f"its probes {'fail' if word is ProbeWord.FAILED else 'get no answer'} since {at}"
        said += f"; tolerated, since {why}" if why else ""
    return ToleratedProbes(since, at, failed, tolerated, said)
