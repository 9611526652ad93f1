"""Which of many things have changed since a reader looked last. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Changes(Generic[K]):
    """Numbers changes by key, so that any number of readers can each ask for what is new to them.

    A reader keeps the `version` that it has seen and asks for what has changed `since`. To note a change costs the same
    however many keys there are; an answer costs what it holds.

    A key whose thing is gone stays listed, so that every reader learns of it. Keys are models that an operator has
    named in a file, so they don't become many.

    """

    __slots__ = ("_at_news", "_changed_at", "_latest", "_version")

    def __init__(self) -> None:
        self._version = 0
        self._changed_at: dict[K, int] = {}
        self._at_news: Callable[[], object] | None = None
        self._latest: K | None = None  # Under the current version, which no reader has taken yet.

    @property
    def version(self) -> int:
        """A number that grows with the changes. What is noted after it was read has a later one."""
        self._latest = None
        return self._version

    def touch(self, key: K) -> None:
        """Note that what stands under `key` has changed."""
        if key is self._latest:  # Each job notes its model twice, and readers are rare.
            return
        self._version = version = self._version + 1
        self._changed_at.pop(key, None)  # And added again, so that the dict stays in the order of the changes.
        self._changed_at[key] = version
        self._latest = key
        if self._at_news is not None:
            self._at_news()

    def call_at_news(self, call: Callable[[], object]) -> None:
        """Have `call` called when there is something new to a reader that has read all; maybe more often.

        It is called inside `touch`, which may be on the path of each job: it must set a flag and no more. There is one.
        """
        assert self._at_news is None
        self._at_news = call

    def since(self, version: int) -> list[K]:
        """Return the keys that have changed after `version`, the latest change first; 0 = all that ever did."""
        found: list[K] = []
        for key, changed_at in reversed(self._changed_at.items()):
            if changed_at <= version:
                break
            found.append(key)
        return found
