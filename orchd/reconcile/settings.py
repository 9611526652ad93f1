"""The section `[reconcile]`."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from orchd.settings.section import AtLeastOne, Positive, Section


class ReconcileSettings(Section):
    """How runners are restarted, and how they leave."""

    period_s: Positive = Field(
        5.0,
        description="How often, in seconds, runners are listed and compared with the file even if no event arrived, so "
        "that a lost event costs at most this delay.",
    )
    backoff_min_s: Positive = Field(
        1.0, description="Backoff in seconds before the first restart of a failed runner; it doubles each time."
    )
    backoff_max_s: Positive = Field(60.0, description="Longest backoff in seconds between restarts of a failed runner.")
    backoff_reset_s: Positive = Field(
        60.0, description="After how many seconds of being ready a runner's earlier failures are forgotten."
    )
    failure_limit: AtLeastOne = Field(
        10,
        description="How many failures within reconcile.failure_window_s (or in a row without ever being ready) make "
        "orchd give up on a runner until its entry changes. Failures of the engine, a registry or a GPU do not count; "
        "they are retried every reconcile.backoff_max_s.",
    )
    failure_window_s: Positive = Field(
        600.0, description="Window in seconds in which reconcile.failure_limit failures are counted."
    )
    drain_timeout_s: Positive = Field(
        60.0, description="How many seconds sessions may go on, on a runner that is being replaced or removed."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.backoff_min_s > self.backoff_max_s:
            raise ValueError(f"backoff_min_s = {self.backoff_min_s} is above backoff_max_s = {self.backoff_max_s}")
        return self
