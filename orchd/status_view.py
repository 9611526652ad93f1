"""What a reader of orchd is shown: `Snapshot` as JSON, whether orchd can serve, and which model a name means.

Fields are chosen one by one, never dumped whole: a model's definition holds secrets. Text that others wrote (log
lines, health bodies) is scrubbed of the secrets that we gave them. The shape is documented in
docs/reference/status.md and is an interface, as the metrics are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.domain.nearest import listed, nearest_model
from orchd.domain.redact import scrub, secrets_of
from orchd.domain.state import ModelStatus, Problem, Severity, Snapshot
from orchd.errors import Code, OrchdError
from orchd.status_face import status_faces

Json = dict[str, Any]
ReadyWhen = Literal["any", "all", "listening"]

_MOST_NAMED = 20
STOPPED = "stopped"
_FEW = 5
"""Models that `/readyz` names; a probe's answer should stay short."""

_TELLING = (
    *(RunnerState.FAILED, RunnerState.BACKOFF, RunnerState.UNHEALTHY, RunnerState.LOADING, RunnerState.STARTING),
    *(RunnerState.PREPARED, RunnerState.PULLING, RunnerState.DRAINING, RunnerState.STOPPING, RunnerState.READY),
)
"""States in the order in which they tell most about a model of which no runner is ready."""


def find_model(name: str, keys: Iterable[ModelKey]) -> ModelKey:
    """Return the key that `name` means: `pipeline/model_id`, or a model id that only one pipeline has.

    Raises:
        OrchdError: `unknown_target`, naming the keys that there are or that `name` could mean.
    """
    known = sorted(keys)
    found = [key for key in known if str(key) == name] or [key for key in known if key.model_id == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise OrchdError(
            f"cannot tell which model {name!r} means: {listed(found, _MOST_NAMED)}; name the pipeline too",
            code=Code.UNKNOWN_TARGET,
        )
    near = nearest_model(name, known)
    hint = f"did you mean {near}? " if near is not None else ""
    there = f"{hint}there is {listed(known, _FEW if hint else _MOST_NAMED)}" if known else "there is none at all"
    raise OrchdError(f"cannot find model {name[:200]!r}: {there}", code=Code.UNKNOWN_TARGET)


def find_shown(name: str, snapshot: Snapshot) -> ModelKey:
    """Return the key of a model of the snapshot, as `find_model` does.

    Raises:
        OrchdError: `unknown_target`; of an entry that never was valid it says what is wrong with it.
    """
    try:
        return find_model(name, snapshot.models)
    except OrchdError as unknown:
        refused = {one.key: one for one in reversed(snapshot.problems) if one.key and one.severity is Severity.ERROR}
        try:
            problem = refused[find_model(name, refused)]
        except OrchdError:
            raise unknown from None
        raise OrchdError(
            f"cannot show model {problem.key}: its entry never was valid. {problem}", code=Code.UNKNOWN_TARGET
        ) from None


def readiness(snapshot: Snapshot, accepting: bool, ready_when: ReadyWhen) -> tuple[bool, Json]:
    """Return whether orchd can serve, and what `/readyz` says. A bad entry is listed, and does not count.

    Args:
        ready_when: the setting `admin.ready_when`.
    """
    wanted = [model for model in snapshot.models.values() if model.wanted]
    unable = [model for model in wanted if not _can_serve(model)]
    serving = len(wanted) - len(unable)
    reasons = []
    if not accepting:
        reasons.append("orchd does not take jobs: it is starting or shutting down")
    if ready_when != "listening":
        if snapshot.node and snapshot.node.callback and snapshot.node.callback.blocks:
            reasons.append(snapshot.node.callback.error)
        if not snapshot.file_hash and not snapshot.models:
            reasons.append("no models file has applied yet")
        if wanted and ready_when == "any" and not serving:
            reasons.append(f"no model of {len(wanted)} can serve")
        if unable and ready_when == "all":
            reasons.append(f"{len(unable)} of {len(wanted)} models can't serve")
    return not reasons, {
        "status": "not ready" if reasons else "ready",
        "ready_when": ready_when,
        "reasons": reasons,
        "models": {"wanted": len(wanted), "can_serve": serving},
        "cannot_serve": [_cannot_serve(model) for model in unable[:_MOST_NAMED]],
        "problems": [str(problem) for problem in snapshot.problems],
    }


def _can_serve(model: ModelStatus) -> bool:
    """A job for it would be served now, after another one has ended, or after a cold start."""
    return model.ready or model.startable


def _cannot_serve(model: ModelStatus) -> str:
    return f"{model.model.key}: {scrub(model.reason, secrets_of(model.model)) or model_state(model)}"


def summary(snapshot: Snapshot) -> str:
    """Return one line for `systemctl status`: how many models can serve, and why the worst of them can't."""
    wanted = [model for model in snapshot.models.values() if model.wanted]
    stopped = sum(model.stopped is not None for model in snapshot.models.values())
    if not wanted:
        if stopped:
            return f"no models, but for {stopped} stopped by an operator"
        return "no models" if snapshot.file_hash else "no models: no models file has applied yet"
    ready, cold = sum(m.ready for m in wanted), sum(m.startable and not m.ready for m in wanted)
    line = f"{ready} of {len(wanted)} models ready" + (f", {cold} cold" if cold else "")
    line += f", {stopped} stopped" if stopped else ""
    states = (*_TELLING, RunnerState.COLD)
    unable = [model for model in wanted if not _can_serve(model)]
    if worst := min(unable, key=lambda model: states.index(RunnerState(model_state(model))), default=None):
        line += f"; {_cannot_serve(worst)}"
    return line


def status(snapshot: Snapshot, only: ModelKey | None = None) -> Json:
    """Return `/status`: all models, or `only` one of them. `admin.status_page` makes the same in pieces."""
    models = [snapshot.models[only]] if only else list(snapshot.models.values())
    return {
        **head(snapshot),
        "problems": [problem_json(problem) for problem in problems_of(snapshot, only)],
        "models": [model_json(model) for model in models],
    }


def problems_of(snapshot: Snapshot, only: ModelKey | None) -> list[Problem]:
    """Return those of the file, or those that concern `only` this model: its own, and those of the whole file."""
    return [p for p in snapshot.problems if only is None or p.key == only or p.entry is None]


def head(snapshot: Snapshot) -> Json:
    """Return what `/status` says beside models and problems."""
    return {name: value for face in status_faces() for name, value in face.whole(snapshot).items()}


def model_state(model: ModelStatus) -> str:
    """Return one word for all runners of a model: `ready`, else the most telling state of those that are wanted.

    Of a model that an operator has stopped: `stopped`, as soon as nothing of it is left.
    """
    if model.ready:
        return RunnerState.READY
    states = {runner.state for runner in model.runners if runner.wanted} or {runner.state for runner in model.runners}
    down = STOPPED if model.stopped else RunnerState.COLD
    return next((state for state in _TELLING if state in states), down)


def model_json(status: ModelStatus) -> Json:
    """Return one of `/status`'s models: what each part shows of it."""
    return {name: value for face in status_faces() for name, value in face.of_model(status).items()}


def problem_json(problem: Problem) -> Json:
    """Return one of `/status`'s problems."""
    return {
        "severity": problem.severity,
        "code": problem.code,
        "text": str(problem),
        "file": problem.file,
        "line": problem.line,
        "column": problem.column,
        "entry": problem.entry,
        "field": problem.field,
        "pipeline": problem.key.pipeline if problem.key else None,
        "model_id": problem.key.model_id if problem.key else None,
    }
