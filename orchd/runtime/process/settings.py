"""The section `[process]`."""

from __future__ import annotations

from pydantic import Field

from orchd.settings.section import AtLeastOne, Section


class ProcessSettings(Section):
    """Runners that are child processes (entries with a `command`)."""

    log_max_mb: AtLeastOne = Field(
        10, description="Largest size in MiB of a process's log; beyond it the older half is dropped."
    )
