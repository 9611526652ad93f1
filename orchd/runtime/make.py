"""Which runtimes there are: one for each kind of runner that the settings allow, on this host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from orchd.domain.ports import Runtime
from orchd.domain.runtime_id import RuntimeId
from orchd.runtime.process.runtime import ProcessRuntime
from orchd.settings.tree import Settings


def make_runtimes(
    settings: Settings,
    state_dir: Path,
    on_event: Callable[[str, str], None] = lambda kind, event: None,
    on_open: Callable[[], None] = lambda: None,
) -> dict[RuntimeId, Runtime]:
    """Return the runtimes that the settings allow, not opened.

    Args:
        on_event: called with the kind and a word for what a runtime reports about our runners.
        on_open: called when that of containers has been opened.
    """
    made: list[Runtime] = [ProcessRuntime(settings.process, instance=settings.instance, state_dir=state_dir)]
    if settings.docker.enabled:
        from orchd.runtime.docker.runtime import DockerRuntime  # Costs nothing while it is switched off.

        docker = DockerRuntime(
            settings.docker,
            instance=settings.instance,
            state_dir=str(state_dir),
            models_folder=str(Path(settings.models_file).absolute().parent),
            on_event=on_event,
            on_open=on_open,
        )
        made.append(docker)
    return {runtime.id: runtime for runtime in made}
