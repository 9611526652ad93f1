"""How jobs are shown by `/status` and `orchd status`."""

from __future__ import annotations

from dataclasses import asdict

from orchd.domain.state import ModelStatus
from orchd.status_face import Json, StatusFace
from orchd.text import ago


def _of_model(status: ModelStatus) -> Json:
    return {"runner_errors": asdict(status.runner_errors) if status.runner_errors else None}


def _facts(model: Json, status: Json) -> dict[str, str]:
    errors = model.get("runner_errors")
    if not errors:
        return {}
    what = "job was" if errors["count"] == 1 else "jobs were"
    told = (
        f"{errors['count']} {what} answered with HTTP 500 to 599 by a runner, "
        f"the last one {ago(status['at'] - errors['last_at'])} ago with {errors['last_status']}"
    )
    return {"errors": told}


FACE = StatusFace(of_model=_of_model, facts=_facts)
