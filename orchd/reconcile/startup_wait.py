"""For which models a job waits right after orchd has started, since it is not known yet whether they can serve.

A container or a server that was ready before goes on while orchd restarts; a job that arrives meanwhile (in systemd's
socket, say) is to wait for the first look at the runtimes and the first probe, instead of being
refused because nothing is ready yet. The same holds for the job that starts orchd. Each model waits once.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.reconcile.runner import Runner
from orchd.reconcile.standing import Standing

S = RunnerState

_ON_ITS_WAY = frozenset({S.COLD, S.PULLING, S.PREPARED, S.STARTING, S.LOADING})
"""Nothing was found out yet that speaks against it."""


class StartupWait:
    """Models that jobs may still wait for. `over` ends it for all of them."""

    def __init__(self, *, waits: bool) -> None:
        self._waits = waits
        self._judged: set[ModelKey] = set()

    def over(self) -> None:
        """The time for it has passed."""
        self._waits = False
        self._judged.clear()

    def awaited(self, key: ModelKey, stand: Standing, runners: Sequence[Runner], *, down: bool, leaving: bool) -> bool:
        """Return whether a job for this model waits though it is neither ready nor startable.

        Args:
            down: its runtime was found to be unusable.
            leaving: it is no longer in the models file.
        """
        if not self._waits or key in self._judged:
            return False
        if stand.ready or down or leaving or any(runner.state not in _ON_ITS_WAY for runner in runners):
            self._judged.add(key)
            return False
        return True
