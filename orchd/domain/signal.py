"""Pure. How a part tells the parts above it that something has happened, without knowing them.

Imports point down: a part may call the parts below it, never those above. Where it has news for them (a runner has
drained, a stream has ended) it owns a `Signal` and emits it; the part above connects when it opens:

    # sessions/part.py, below
    self.drained: Signal[RunnerId] = Signal()       # a runner that was closed has no session any more

    # reconcile/part.py, above
    sessions.drained.connect(self._on_drained)

A signal is for news. A part that needs an *answer* from above is in the wrong place: move what it asks for down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVarTuple

Args = TypeVarTuple("Args")


class Signal(Generic[*Args]):
    """News of one kind. `Signal[RunnerId, str]` calls each receiver with a runner's id and a text.

    Receivers are called in the order in which they connected, inside `emit` and so inside the step of the part that
    emits: they must return at once, and must not call that part back unless it says that they may. What a receiver
    raises goes to the emitter, and the receivers after it are not called: a receiver must not raise.
    """

    __slots__ = ("_receivers",)

    def __init__(self) -> None:
        self._receivers: tuple[Callable[[*Args], object], ...] = ()

    def connect(self, receiver: Callable[[*Args], object]) -> None:
        """Call `receiver` at each `emit` from now on."""
        self._receivers = (*self._receivers, receiver)

    def emit(self, *news: *Args) -> None:
        """Tell everybody who has connected."""
        for receiver in self._receivers:
            receiver(*news)
