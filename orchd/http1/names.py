"""Names of header fields, lower-cased once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

Header = tuple[bytes, bytes]
"""Name and value as they came, without the white space before the value."""

K = TypeVar("K")
T = TypeVar("T")

_MOST = 4096
_LONGEST = 64


class Memo(dict[K, T], Generic[K, T]):
    """A pure function, remembered. Callers may choose the keys, so their number is bounded, and the length of bytes."""

    def __init__(self, function: Callable[[K], T]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, key: K) -> T:
        value = self._function(key)
        if not isinstance(key, bytes) or len(key) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[key] = value
        return value


LOWER: Memo[bytes, bytes] = Memo(bytes.lower)


def tokens(value: bytes) -> list[bytes]:
    """Return the members of a comma-separated list, lower-cased, empty ones left out (RFC 9110, section 5.6.1)."""
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]
