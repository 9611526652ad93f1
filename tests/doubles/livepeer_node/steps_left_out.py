"""The recorded steps that are not played, and why. `test_replay` holds the list to be exact.

Recordings of paid mode (`node-challenge.json`, `node-paid.json`, `paid-node-*.json`) are not here at all: this double
has no paid mode.
"""

from __future__ import annotations

from tests.doubles.shared.recordings import Step

WORKER_CLOCK = "says when the recorded worker's own thread ended; it did not look at its connection"
NOT_SAID = "what was sent is not recorded"

# File and label of the step.
LEFT_OUT: dict[tuple[str, str], str] = {
    ("node-single-shot.json", "worker: the connection of the node"): WORKER_CLOCK,
    ("node-secrets.json", "with a bare newline in the header"): NOT_SAID,
}


def reason(file: str, step: Step) -> str | None:
    """Why a step is left out; None = it is played."""
    return LEFT_OUT.get((file, step["step"]))
