"""The section `[docker]`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchd.settings.section import AtLeastOne, Positive, Section


class DockerSettings(Section):
    """Docker Engine. DOCKER_HOST and Docker's own credentials are honoured."""

    enabled: bool = Field(
        True, description="Whether orchd uses Docker Engine; false = entries with an image are not launched."
    )
    network: str = Field(
        "orchd", description="Name of the bridge network that all containers share; it is created if it is missing."
    )
    reach: Literal["auto", "name", "address", "loopback"] = Field(
        "auto",
        description="How orchd reaches containers: name = by name on the network, address = by container address, "
        "loopback = by a published loopback port, auto = what works where orchd runs.",
    )
    gpu_ids: tuple[str, ...] = Field(
        (),
        description="List of GPU ids that an entry's GPU count is filled from; empty = ask the driver (NVML).",
    )
    call_timeout_s: Positive = Field(
        30.0, description="Timeout in seconds of one call to Docker Engine, except pulls; a busy engine takes seconds."
    )
    pull_stall_s: Positive = Field(
        300.0, description="Idle timeout in seconds of a pull: one without any progress for this long is given up."
    )
    pids_limit: AtLeastOne = Field(
        4096, description="Most processes and threads in one container; model servers start hundreds."
    )
    log_max_mb: AtLeastOne = Field(10, description="Largest size in MiB of one log file of a container.")
    log_files: AtLeastOne = Field(3, description="How many log files are kept for each container.")
