"""What the part `history` offers the parts above it."""

from __future__ import annotations

from enum import StrEnum
from typing import Protocol

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model


class Kind(StrEnum):
    """What can have happened. The words are stable: they stand in `orchd events --json`.

    Attributes:
        meaning: of the word, for the reference page.
    """

    meaning: str

    def __new__(cls, word: str, meaning: str) -> Kind:
        made = str.__new__(cls, word)
        made._value_ = word
        made.meaning = meaning
        return made

    DAEMON_STARTED = "daemon_started", "orchd has started; its version, and whether the one before ended cleanly"
    DAEMON_ENDING = "daemon_ending", "orchd was told to end, by a signal or `orchd down`, or had to"
    EVENTS_LOST = "events_lost", "so many events before this one could not be kept"

    FILE_APPLIED = (
        "file_applied",
        "the models file was read; how many models it has, and how many were added, changed, removed",
    )
    FILE_REFUSED = "file_refused", "the models file as a whole can't be used; all goes on as it was"
    EDIT_REFUSED = "edit_refused", "an entry can't be used as it is written now; what is wrong, and where"
    HELD_OVER = "held_over", "the model goes on from its last good definition"

    ADDED = "added", "a model is new in the models file; what it is made from"
    CHANGED = "changed", "the entry of a model was edited; the names of what has changed in its definition"
    REMOVED = "removed", "a model is no longer in the models file"

    START = "start", "a runner is being started, or (`url`) is probed from now on"
    ADOPTED = "adopted", "a runner of an earlier orchd was found, and is kept"
    READY = "ready", "sessions can begin on the runner"
    LOADING = "loading", "a runner that was ready says that it loads again"
    UNHEALTHY = "unhealthy", "the runner fails its health probes; it gets no new sessions"
    FAILED = "failed", "the runner went down by itself: why, its last words, and when it is started again"
    GIVEN_UP = "given_up", "the runner has failed too often; only an edit or `orchd restart` starts it again"
    DRAINING = "draining", "the runner gets no new sessions, and is stopped when those that it has are over; why"
    RESUMED = "resumed", "a runner that drained is wanted again"
    DRAINED = "drained", "its sessions are over, or the deadline has passed; it is stopped now"
    STOPPING = "stopping", "a runner that has served nobody yet is stopped; why"
    STOPPED = "stopped", "the runner was stopped on purpose and has ended; how"

    STRAY_REMOVED = "stray_removed", "a container or process that no entry explains is stopped and removed; why"

    REGISTERED = "registered", "the node has taken the model into a registry"
    WITHDRAWN = "withdrawn", "the model was taken out of a registry of the node; why"
    NOT_REGISTERED = "not_registered", "the node did not take it, or could not be asked; it is tried again"
    NODE_UP = "node_up", "the node answers; its version"
    NODE_DOWN = "node_down", "the node can't be used; why"
    CALLBACK_FAILED = "callback_failed", "jobs can't reach orchd at `orchestrator.callback_url`; why, and what to do"
    CALLBACK_REACHED = "callback_reached", "orchd is reached there again"
    CHAIN_UP = "chain_up", "an RPC server tells how the chain stands"
    CHAIN_DOWN = "chain_down", "no RPC server tells how the chain stands; why, and what that means for payers"
    CERTIFICATE_CHANGED = "certificate_changed", "`public.listen` has a new certificate; for whom, and for how long"
    CERTIFICATE_REFUSED = "certificate_refused", "the files of the certificate can't be used; the one before stays"
    CERTIFICATE_EXPIRES = "certificate_expires", "the certificate of `public.listen` expires soon, or has expired"
    RUNTIME_UP = "runtime_up", "Docker, or what launches processes, can be used"
    RUNTIME_DOWN = "runtime_down", "Docker can't be used; why"

    LEDGER_ROTATED = (
        "ledger_rotated",
        "the secrets of payments were made new, and all terms that payers hold are void; why",
    )

    RESTART_ASKED = "restart_asked", "`orchd restart`; by whom"
    STOP_ASKED = "stop_asked", "`orchd stop`; by whom"
    START_ASKED = "start_asked", "`orchd start`; by whom"
    DOWN_ASKED = "down_asked", "`orchd down`; by whom"


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
