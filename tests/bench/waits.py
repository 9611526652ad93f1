"""The bench's daemon, and what it waits for there."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from orchd.settings.tree import SETTINGS
from tests.e2e.daemon import FAST, Daemon

Json = dict[str, Any]

SHIPPED = {name: SETTINGS[name].default for name in FAST} | {"log.format": "json"}
"""The settings as they ship, in place of those that make tests quick."""


def fresh_daemon(
    folder: Path, *, docker: bool = False, main: Sequence[str] = ("orchd",), env: Mapping[str, str] | None = None
) -> Daemon:
    """Return a daemon with an instance and network of its own. `main`, `env`: as those of `Daemon`.

    Its log is beside its folder, not in it: whatever is written beside the models file wakes what watches that file. A
    service's log goes to the journal.
    """
    instance = f"bench-{secrets.token_hex(4)}"
    settings = SHIPPED | {"docker.network": instance}
    daemon = Daemon(folder, instance, docker=docker, settings=settings, main=main, env=env)
    daemon.log = folder.with_name(f"{folder.name}.log")
    return daemon


async def all_ready(daemon: Daemon, count: int) -> list[Json]:
    """Return the models of /status as soon as there are `count` and all are ready."""

    async def ready() -> list[Json] | None:
        models: list[Json] = (await daemon.status())["models"]
        return models if len(models) == count and all(model["ready"] for model in models) else None

    found: list[Json] = await daemon.until(f"{count} models are ready", ready)
    return found


async def started(daemon: Daemon, model_id: str) -> Json:
    """Return the only runner of the model as soon as it was started."""

    async def runner() -> Json | None:
        models = [model for model in (await daemon.status())["models"] if model["model_id"] == model_id]
        runners: list[Json] = models[0]["runners"] if models else []
        return runners[0] if runners and runners[0]["address"] else None

    found: Json = await daemon.until(f"{model_id} was started", runner)
    return found


async def none_left(daemon: Daemon) -> None:
    """Wait until the daemon has no models any more."""

    async def empty() -> bool:
        return not (await daemon.status())["models"]

    await daemon.until("all models are gone", empty)
