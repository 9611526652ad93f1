"""What the part `history` offers the parts above it."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model


class Kind(StrEnum):
    """What can have happened. The words are stable: they stand in `orchd events --json`."""

    ORCHD_STARTED = "orchd_started"
    ORCHD_STOPPING = "orchd_stopping"
    EVENTS_LOST = "events_lost"
    """So many events could not be kept."""

    FILE_APPLIED = "file_applied"
    """The models file was read; which entries were added, changed, removed."""
    FILE_REFUSED = "file_refused"
    """The models file as a whole can't be used."""
    EDIT_REFUSED = "edit_refused"
    """An entry can't be used as it is written now."""
    HELD_OVER = "held_over"
    """A model runs on from its last good definition."""

    START = "start"
    ADOPTED = "adopted"
    """A runner of an earlier orchd was found."""
    READY = "ready"
    LOADING = "loading"
    """A runner that was ready says that it loads again."""
    UNHEALTHY = "unhealthy"
    FAILED = "failed"
    """A runner went down by itself, and is started again later."""
    GIVEN_UP = "given_up"
    """A runner has failed too often; it is not started again until an edit or `orchd restart`."""
    DRAINING = "draining"
    """A runner takes no new sessions, and is stopped when those that it has are over."""
    RESUMED = "resumed"
    """A runner that drained is wanted again."""
    DRAINED = "drained"
    """Its sessions are over, or the deadline has passed."""
    STOPPING = "stopping"
    """A runner that served nobody yet is not wanted any more."""
    STOPPED = "stopped"
    """A runner was stopped on purpose, and has ended."""

    REGISTERED = "registered"
    WITHDRAWN = "withdrawn"
    NOT_REGISTERED = "not_registered"
    """The node refused or could not be told; which the next try may mend."""
    NODE_UP = "node_up"
    NODE_DOWN = "node_down"
    RUNTIME_UP = "runtime_up"
    RUNTIME_DOWN = "runtime_down"

    RESTART_ASKED = "restart_asked"
    STOP_ASKED = "stop_asked"
    START_ASKED = "start_asked"
    DOWN_ASKED = "down_asked"


class History(Protocol):
    """Where parts tell what has happened. Every method returns at once, never raises, and costs next to nothing."""

    def note(
        self,
        kind: Kind,
        why: str,
        *,
        about: ModelKey | RunnerId | None = None,
        evidence: str = "",
        by: str = "",
        model: Model | None = None,
    ) -> None:
        """Keep that something has happened now.

        Args:
            why: in plain words, without the name of the model.
            about: the model or runner; None = orchd, its node or a runtime as a whole.
            evidence: what it was concluded from: a probe's answer, a log's last lines.
            by: who gave the order, as `str(Asker)`; empty = nobody did.
            model: the definition whose secrets are taken out of the texts before they are kept.
        """

    def stands(self, runner: RunnerId, state: str, why: str, model: Model | None = None) -> None:
        """Keep in which state a runner is since now: the last word is known when no daemon runs.

        Args:
            state: of `domain.lifecycle.RunnerState`.
            model: as in `note`.
        """

    def gone(self, runner: RunnerId) -> None:
        """Forget in which state a runner was: nothing is left of it."""
