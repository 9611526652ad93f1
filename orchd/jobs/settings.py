"""The section `[jobs]`: the listeners for jobs, and the timeouts and limits of one job."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from orchd.relay.settings import RelaySettings
from orchd.settings.section import Positive


class JobsSettings(RelaySettings):
    """The job listeners, and the limits of a job."""

    hold_limit: Annotated[int, Field(ge=0)] = Field(
        16,
        description="Most jobs that wait for one cold model to start, and never more than its maxSessions; more get "
        "503. 0 = jobs never wait.",
    )
    hold_timeout_s: Positive = Field(
        240.0, description="Timeout in seconds of a job that waits for a cold model; large models load for minutes."
    )
    start_wait_s: Annotated[float, Field(ge=0)] = Field(
        15.0,  # Listing what the engine has and one probe take at most some 10 s.
        description="How many seconds after its own start orchd lets a job wait for a model that it has not checked "
        "yet; 0 = such a job is refused. One check of engine and runner takes at most about 10 s.",
    )
    hook_timeout_s: Positive = Field(
        5.0, description="Timeout in seconds of one call of a hook; the job is refused with 503 after that."
    )
