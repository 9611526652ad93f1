"""The daemon's own settings. `config/orchd.toml` shows each with its default; a test keeps the two the same.

Names carry their units. Order of precedence: flags, environment (`ORCHD_...`), file, default. Loading and its errors
are in `load_settings`; the rest of orchd receives a frozen `Settings` and never reads the environment.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
AtLeastOne = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class JobsSettings(_Section):
    """The job listener."""

    listen: str = Field("127.0.0.1:8937", description="host:port where jobs arrive")
    max_header_kb: AtLeastOne = Field(64, description="KiB; longest request head that is accepted")
    connect_timeout_s: Positive = Field(5.0, description="seconds; to connect to a runner")
    between_bytes_timeout_s: Positive = Field(60.0, description="seconds; between two pieces of a body, either way")
    keepalive_s: Positive = Field(90.0, description="seconds; an idle connection is kept (go-livepeer pools 60 s)")
    hold_limit: Annotated[int, Field(ge=0)] = Field(
        16, description="jobs; most that wait for one cold model to start (and never more than its maxSessions)"
    )
    hold_timeout_s: Positive = Field(240.0, description="seconds; longest wait of such a job")
    hook_timeout_s: Positive = Field(5.0, description="seconds; a hook that takes longer refuses the job")
    refused_body_mb: AtLeastOne = Field(8, description="MiB; of a refused job's body read and dropped before closing")
    refused_body_s: Positive = Field(5.0, description="seconds; the same bound in time")


class AdminSettings(_Section):
    """The read-only admin listener: /healthz, /readyz, /status, /metrics."""

    listen: str = Field("127.0.0.1:8938", description="host:port of the admin pages")


class DockerSettings(_Section):
    """Docker Engine. DOCKER_HOST and Docker's own credentials are honoured."""

    enabled: Literal["auto", "always", "never"] = Field(
        "auto",
        description="auto = only if an entry has an image, always = also to clean up at start, never = refuse images",
    )
    network: str = Field("orchd", description="shared bridge network; created if missing")
    reach: Literal["auto", "name", "address", "loopback"] = Field(
        "auto",
        description="how orchd reaches containers: by name on the network, by container address, by a loopback port",
    )
    gpu_ids: tuple[str, ...] = Field(
        (), description="GPU ids that counts are resolved to; empty = ask the driver (NVML)"
    )
    call_timeout_s: Positive = Field(30.0, description="seconds; one call to the engine, save pulls")
    pull_stall_s: Positive = Field(300.0, description="seconds; a pull without any progress is given up")
    pids_limit: AtLeastOne = Field(4096, description="processes per container")
    log_max_mb: AtLeastOne = Field(10, description="MiB; size of one log file of a container")
    log_files: AtLeastOne = Field(3, description="log files kept per container")


class ProcessSettings(_Section):
    """Runners that are child processes (`command` entries)."""

    log_max_mb: AtLeastOne = Field(10, description="MiB; a runner's log is cut to its last half beyond this")


class ReconcileSettings(_Section):
    """How the loop heals."""

    period_s: Positive = Field(5.0, description="seconds; reality is looked at this often even if nothing was reported")
    backoff_min_s: Positive = Field(1.0, description="seconds; wait before the first new start of a failed runner")
    backoff_max_s: Positive = Field(60.0, description="seconds; longest such wait")
    backoff_reset_s: Positive = Field(60.0, description="seconds; ready so long, a runner's failures are forgotten")
    failure_limit: AtLeastOne = Field(6, description="failures within the window (or never ready between) that park it")
    failure_window_s: Positive = Field(600.0, description="seconds; that window")
    drain_timeout_s: Positive = Field(60.0, description="seconds; sessions of a leaving runner may go on this long")


class LogSettings(_Section):
    format: Literal["auto", "json", "text"] = Field("auto", description="auto = text on a terminal, else JSON")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severity written")


class Settings(_Section):
    """All settings of one daemon."""

    models_file: str = Field("aiModels.json", description="path of the one file that the operator edits")
    models_poll_s: Positive = Field(
        4.0, description="seconds; the file is also looked at this often, for mounts that report no changes"
    )
    state_dir: str = Field(
        "",
        description="durable state; empty = $STATE_DIRECTORY, else /var/lib/orchd, else ~/.local/state/orchd",
    )
    instance: str = Field(
        "orchd",
        pattern=r"^[a-z0-9][a-z0-9-]{0,31}$",
        description="label of everything we create; one daemon per instance",
    )
    on_stop: Literal["keep", "stop"] = Field(
        "keep", description="containers when the daemon stops: keep them for the next start to adopt, or stop them"
    )
    shutdown_drain_s: Positive = Field(30.0, description="seconds; jobs may go on this long when the daemon stops")
    jobs: JobsSettings = JobsSettings()
    admin: AdminSettings = AdminSettings()
    docker: DockerSettings = DockerSettings()
    process: ProcessSettings = ProcessSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    log: LogSettings = LogSettings()
