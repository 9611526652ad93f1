"""Trials: orchd asks its own job listener something by a path that was never used before, and waits for its own answer.

An answer of ours proves that who asked by that path (orchd itself, or the node for it) has reached this orchd, and not
another server, nor another orchd.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Trial:
    """One question of orchd to itself.

    Attributes:
        word: names it in a path.
        answer: what is answered there, and nowhere else.
    """

    word: str = field(repr=False)
    answer: bytes = field(repr=False)

    def answered_by(self, body: bytes) -> bool:
        """Return whether a body is our own answer."""
        return hmac.compare_digest(body, self.answer)


class Trials:
    """Those that are under way."""

    def __init__(self) -> None:
        self._answers: dict[bytes, bytes] = {}

    @contextmanager
    def begin(self) -> Iterator[Trial]:
        """Yield a new one, which is answered until the end of the `with`."""
        trial = Trial(secrets.token_hex(16), secrets.token_hex(16).encode())
        word = trial.word.encode()
        self._answers[word] = trial.answer
        try:
            yield trial
        finally:
            del self._answers[word]

    def answer(self, word: bytes) -> bytes | None:
        """Return what to answer; None = no such trial is under way."""
        return self._answers.get(word)
