"""What the node knows and nobody else does: a bearer token per model (BYOC), a path segment per model (Live Runner).

All are derived from one random key that outlives restarts (HMAC-SHA256), so a node that was told by an earlier orchd
is still admitted by this one. Tokens change with time, `rotation_s` long each; the one that the node has is accepted
until it was told the next but one, however late that is, so no job is refused for a rotation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable

from orchd.domain.model import Secret

KEY_NAME = "route key"
"""The name under which the store keeps the key."""


def new_key() -> str:
    """Return a fresh random key, as hex digits."""
    return secrets.token_hex(32)


def is_key(text: str) -> bool:
    """Return whether `text` can be one of `new_key`."""
    return re.fullmatch(r"[0-9a-f]{64}", text) is not None


class RouteSecrets:
    """Makes and checks the tokens by which the node shows that a job comes from it.

    Args:
        key: of `new_key`.
        rotation_s: seconds that one token is handed out.
        clock: Unix time; only differences between restarts matter.
    """

    def __init__(self, key: str, rotation_s: float, clock: Callable[[], float] = time.time) -> None:
        self._key = bytes.fromhex(key)
        self._rotation_s = rotation_s
        self._clock = clock
        self._told: dict[str, tuple[int, int]] = {}
        self._accepted: dict[str, tuple[int, frozenset[bytes]]] = {}
        self._segments: dict[str, bytes] = {}

    def period(self) -> int:
        """Return the number of the period that runs; another one means that the node should get a new token."""
        return int(self._clock() // self._rotation_s)

    def token(self, slug: str, period: int) -> Secret:
        """Return a model's token of a period: 52 characters of `[a-z2-7]`."""
        return Secret(self._derive(f"byoc {period} {slug}"))

    def told(self, slug: str, period: int) -> None:
        """The node has taken the token of this period."""
        before = self._told.get(slug, (period, period))
        if period != before[-1]:
            before = before[-1], period
        self._told[slug] = before
        self._accepted.pop(slug, None)

    def admits(self, slug: str, presented: bytes) -> bool:
        """Return whether the node may have this token for this model. All wrong ones take the same time."""
        period = self.period()
        known = self._accepted.get(slug)
        if known is None or known[0] != period:
            periods = {period, period - 1, *self._told.get(slug, ())}
            known = period, frozenset(self.token(slug, each).value.encode() for each in periods)
            self._accepted[slug] = known
        # All are compared, whichever fits.
        return sum([hmac.compare_digest(presented, token) for token in known[1]]) > 0

    def segment(self, slug: str) -> Secret:
        """Return the path segment that only the node knows: 52 characters of `[a-z2-7]`."""
        return Secret(self._derive(f"live {slug}"))

    @property
    def tag(self) -> str:
        """Eight characters of `[a-z2-7]` by which names of this orchd differ from those of any other; no secret."""
        return self._derive("tag")[:8]

    def knows_segment(self, slug: str, presented: bytes) -> bool:
        """Return whether this is the model's path segment."""
        own = self._segments.get(slug)
        if own is None:
            own = self._segments[slug] = self.segment(slug).value.encode()
        return hmac.compare_digest(presented, own)

    def _derive(self, text: str) -> str:
        digest = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        return base64.b32encode(digest).decode().rstrip("=").lower()
