"""How fast a caller sends a body: one that sends a byte a minute must not hold a slot for ever. Pure.

It is checked once a second, and not at each byte, so that it costs a job nothing. Only time in which orchd waits for
the caller counts: while orchd does not read, because the runner takes no more, the caller is not slow.
"""

from __future__ import annotations

from orchd.relay.settings import RelaySettings

_PACED_BY_LIFE = (b"audio/", b"video/", b"text/event-stream", b"multipart/x-mixed-replace")


def is_paced(content_type: bytes | None) -> bool:
    """Return whether a body of this type comes as fast as it can: sound, pictures and events come as they happen."""
    return not (content_type or b"").strip().lower().startswith(_PACED_BY_LIFE)


class BodyPace:
    """The pace of one body.

    Attributes:
        waited_s: seconds in which orchd waited for the caller.
        ahead_s: seconds by which it is ahead of the lowest rate, as far as that counts; below 0 = it is behind.
    """

    __slots__ = ("_looked_at", "_received", "_waits", "ahead_s", "waited_s")

    def __init__(self, now: float, *, waits: bool) -> None:
        self._looked_at = now
        self._received = 0
        self._waits = waits
        self.waited_s = 0.0
        self.ahead_s = 0.0

    def skip(self, seconds: float) -> None:
        """Don't count this many seconds since the last check."""
        self._looked_at += seconds

    def look(self, now: float, received: int, settings: RelaySettings, *, waits: bool) -> str:
        """Return why the caller is too slow; empty = it is not.

        Args:
            received: bytes of the body so far.
            waits: the caller is waited for now.
        """
        if self._waits and waits and now > self._looked_at:
            self.waited_s += now - self._looked_at
            self.ahead_s -= now - self._looked_at
        rate, grace_s = settings.min_body_rate, settings.min_body_grace_s
        if rate:
            # What came fast at first allows a pause, but not dripping for hours.
            most = max(grace_s, settings.between_bytes_timeout_s)
            self.ahead_s = min(self.ahead_s + (received - self._received) / rate, most)
        self._looked_at, self._received, self._waits = now, received, waits
        sent = f"it sent {received} bytes in {self.waited_s:.0f} s"
        if rate and self.waited_s > grace_s and self.ahead_s < 0:
            return f"less than {rate:g} bytes/s (jobs.min_body_rate): {sent}"
        if 0 < settings.body_timeout_s < self.waited_s:
            return f"not whole within {settings.body_timeout_s:g} s (jobs.body_timeout_s): {sent}"
        return ""
