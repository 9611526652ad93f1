"""For how long a session could be served. Pure.

Time is what the loop's clock says, so a step of the host's clock changes nothing. It is looked at from time to time:
what lies between two looks counts if the session could be served at both, less the time in which orchd stood still.
"""

from __future__ import annotations

NANOSECONDS = 10**9


class ServedClock:
    """Stands still until `begin`, and whenever the session can't be served."""

    __slots__ = ("_before_ns", "_looked_at", "_runs", "_since")

    def __init__(self) -> None:
        self._runs = False
        self._before_ns = 0
        self._since: float | None = None  # It could be served at each look from then on.
        self._looked_at = 0.0

    @property
    def runs(self) -> bool:
        """It has begun, and has not ended."""
        return self._runs

    @property
    def ns(self) -> int:
        """Nanoseconds up to the last look. Never less than before."""
        return self._before_ns + self._running_ns()

    def begin(self, now: float, *, serves: bool) -> None:
        """Count from now on; repeats are fine.

        Args:
            serves: the session can be served now.
        """
        if not self._runs:
            self._runs, self._looked_at = True, now
            self._since = now if serves else None

    def look(self, now: float, *, serves: bool, lost_s: float) -> None:
        """Count what has passed since the last look.

        Args:
            lost_s: seconds of that in which orchd stood still.
        """
        if not self._runs:
            return
        if self._since is None:
            self._since = now if serves else None
        elif serves:
            self._since += min(lost_s, now - self._looked_at)
        else:
            self._before_ns, self._since = self.ns, None
        self._looked_at = now

    @property
    def looked_at(self) -> float:
        """When it was looked at last."""
        return self._looked_at

    def end(self) -> None:
        """Stand still for good."""
        self._before_ns, self._since, self._runs = self.ns, None, False

    def _running_ns(self) -> int:
        return 0 if self._since is None else round((self._looked_at - self._since) * NANOSECONDS)
