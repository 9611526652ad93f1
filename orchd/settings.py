"""The daemon's own settings. `config/orchd.toml` shows each with its default; a test keeps the two the same.

Names carry their units. Order of precedence: flags, environment (`ORCHD_...`), file, default. Loading and its errors
are in `load_settings`; the rest of orchd receives a frozen `Settings` and never reads the environment.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.fields import FieldInfo


def split_listen(listen: str) -> tuple[str, int]:
    """Return host and port of `host:port`; an IPv6 host is given in brackets and returned without.

    Raises:
        ValueError: not of that form, or the port is above 65535. Port 0 is fine: the system picks one.
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s:/\[\]]+)):([0-9]{1,5})", listen)
    if found is None or int(found[3]) > 65535:
        raise ValueError("it should be host:port, such as 127.0.0.1:8937 or [::1]:8937")
    return found[1] or found[2], int(found[3])


def _check_listen(listen: str) -> str:
    split_listen(listen)
    return listen


def _check_job_listen(listen: str) -> str:
    if listen == "systemd":
        return listen
    if listen.startswith("unix:"):
        if not listen.startswith("unix:/") or len(listen.encode()) > 5 + 107:
            raise ValueError(
                "a unix socket needs an absolute path of at most 107 bytes, such as unix:/run/orchd/jobs.sock"
            )
        return listen
    try:
        return _check_listen(listen)
    except ValueError as exc:
        raise ValueError(f"{exc}, or unix:/PATH, or systemd") from exc


def _split(value: object) -> object:
    """One address, or several with commas, may be given as plain text."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AtLeastOne = Annotated[int, Field(ge=1)]
Listen = Annotated[str, AfterValidator(_check_listen)]
JobListen = Annotated[str, AfterValidator(_check_job_listen)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class JobsSettings(_Section):
    """The job listener."""

    listen: Annotated[tuple[JobListen, ...], BeforeValidator(_split), Field(min_length=1)] = Field(
        ("127.0.0.1:8937",),
        description="listeners for jobs: host:port, unix:/PATH or systemd (sockets that its unit hands over); a list",
    )
    max_connections: AtLeastOne = Field(
        8192,
        description="connections of callers at once; beyond it, 503; fewer if the limit of open files asks for it",
    )
    max_header_kb: AtLeastOne = Field(64, description="KiB; longest request head that is accepted")
    header_timeout_s: Positive = Field(10.0, description="seconds; for a request's head to arrive whole")
    connect_timeout_s: Positive = Field(5.0, description="seconds; to connect to a runner")
    between_bytes_timeout_s: Positive = Field(60.0, description="seconds; between two pieces of a body, either way")
    keepalive_s: Positive = Field(90.0, description="seconds; an idle connection is kept (go-livepeer pools 60 s)")
    runner_idle_s: Positive = Field(
        4.0, description="seconds; an idle connection to a runner is kept (common servers close theirs after 5 s)"
    )
    look_us: Annotated[int, Field(ge=0, le=1000)] = Field(
        100, description="microseconds; behind a small message that went out alone, look before sleeping; 0 = never"
    )
    hold_limit: Annotated[int, Field(ge=0)] = Field(
        16, description="jobs; most that wait for one cold model to start (and never more than its maxSessions)"
    )
    hold_timeout_s: Positive = Field(240.0, description="seconds; longest wait of such a job")
    start_wait_s: Annotated[float, Field(ge=0)] = Field(
        15.0,  # A look at the engine and a probe take at most some 10 s.
        description="seconds from orchd's start in which a job waits for a model that was not looked at and probed "
        "yet; 0 = it is refused",
    )
    hook_timeout_s: Positive = Field(5.0, description="seconds; a hook that takes longer refuses the job")
    refused_body_mb: AtLeastOne = Field(8, description="MiB; of a refused job's body read and dropped before closing")
    refused_body_s: Positive = Field(5.0, description="seconds; the same bound in time")
    min_body_rate: NotNegative = Field(
        240.0,
        description="bytes per second; a caller that sends its body slower gets 408, since it holds a slot; audio, "
        "video and event streams, tunnels, and time in which orchd does not read are left out; 0 = off",
    )
    min_body_grace_s: NotNegative = Field(
        30.0, description="seconds of waiting for a body before min_body_rate counts: slow networks need a start"
    )
    body_timeout_s: NotNegative = Field(
        0.0, description="seconds of waiting for one whole body, of the same kinds; beyond it, 408; 0 = no limit"
    )


class AdminSettings(_Section):
    """The read-only admin listener: /healthz, /readyz, /status, /metrics."""

    listen: Listen = Field("127.0.0.1:8938", description="host:port of the admin pages")
    ready_when: Literal["any", "all", "listening"] = Field(
        "any",
        description="what makes /readyz answer 200: any = one model of the file can serve (or it names none), all = "
        "each of them can, listening = jobs are taken, whether or not a model can serve",
    )


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username):
        raise ValueError("it should be empty, or http or https with a host, such as https://127.0.0.1:8935")
    return url.rstrip("/")


def _check_certificate(text: str) -> str:
    kind, colon, path = text.partition(":")
    if text in ("auto", "off") or (kind in ("pin", "ca") and colon and path.startswith("/")):
        return text
    raise ValueError("it should be auto, off, pin:/PATH of the node's cert.pem, or ca:/PATH of a CA file")


def _check_register(names: tuple[str, ...]) -> tuple[str, ...]:
    if names != ("auto",) and not set(names) <= {"byoc", "live-runner"}:
        raise ValueError("it should be auto alone, or one or both of byoc and live-runner")
    return names


def _check_name(pattern: str) -> str:
    try:
        filled = pattern.format(pipeline="p", model_id="m")
    except (KeyError, IndexError, ValueError) as exc:
        raise ValueError("it should be text with {pipeline} and {model_id} in it") from exc
    if filled != filled.strip() or "{model_id}" not in pattern or "{pipeline}" not in pattern:
        raise ValueError("it should hold {pipeline} and {model_id}, without blanks around")
    return pattern


def _check_eth_usd(text: str) -> str:
    if text in ("", "feed"):
        return text
    try:
        positive = Fraction(text) > 0
    except (ValueError, ZeroDivisionError):
        positive = False
    if not positive:
        raise ValueError("it should be a positive number of USD per ETH, or feed, or empty")
    return text


Url = Annotated[str, AfterValidator(_check_url)]


class OrchestratorSettings(_Section):
    """The go-livepeer node beside us, and what we tell it."""

    service_url: Url = Field("", description="the node's service port, such as https://127.0.0.1:8935; empty = no node")
    cli_url: Url = Field("", description="the node's CLI port, such as http://127.0.0.1:7935; empty = not reachable")
    secret_file: str = Field(
        "", description="file with the node's -orchSecret; looked for in $CREDENTIALS_DIRECTORY first; empty = none"
    )
    callback_url: Url = Field("http://127.0.0.1:8937", description="where the node reaches our job listener")
    certificate: Annotated[str, AfterValidator(_check_certificate)] = Field(
        "auto",
        description="of the service port: pin:/PATH of <datadir>/cert.pem, ca:/PATH of a CA file, off; "
        "auto = off on loopback, else the system's CAs",
    )
    registries: Annotated[
        tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_register), Field(min_length=1)
    ] = Field(
        ("auto",),
        alias="register",  # As an attribute, it would hide one of pydantic's.
        description="registries of the node to use: byoc, live-runner, or auto = what it speaks; a list",
    )
    live_runner: Literal["dynamic", "static"] = Field(
        "dynamic", description="how Live Runner is told: dynamic = by heartbeats, static = by the CLI port"
    )
    capability: Annotated[str, AfterValidator(_check_name)] = Field(
        "{pipeline}/{model_id}", description="name under which gateways ask for a model; an entry may have its own"
    )
    offer_cold: bool = Field(True, description="models that their first job would start are offered too")
    withdraw_grace_s: NotNegative = Field(0.0, description="seconds; an unready model stays offered so long")
    allow_direct: bool = Field(
        False, description="jobs that do not come through the node are served too; without a node they always are"
    )
    poll_s: Positive = Field(1.0, description="seconds between two looks whether the node was restarted")
    call_timeout_s: Positive = Field(5.0, description="seconds; one call to the node")
    check_s: Positive = Field(60.0, description="seconds between two looks whether the node still offers a model")
    recount_s: Positive = Field(
        600.0, description="seconds; an idle model that had jobs is registered anew this often, to undo leaked slots"
    )
    token_rotation_h: Positive = Field(24.0, description="hours; the node gets new tokens this often")
    eth_usd: Annotated[str, AfterValidator(_check_eth_usd)] = Field(
        "", description="USD per ETH, for prices in the other currency: a number, or feed = a contract on Arbitrum"
    )
    eth_usd_feed: str = Field(
        "0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612",
        pattern=r"^0x[0-9a-fA-F]{40}$",
        description="address of that contract (Chainlink ETH/USD)",
    )
    rpc_url_file: str = Field(
        "", description="file with the URL of an Arbitrum RPC server; found as secret_file is; empty = none"
    )
    rate_move_pct: Positive = Field(
        5.0, description="percent; a USD price is registered anew when the rate has moved by more"
    )

    @property
    def enabled(self) -> bool:
        """There is a node to register with."""
        return bool(self.service_url)


class StreamsSettings(_Section):
    """Realtime sessions."""

    idle_s: Positive = Field(
        15.0, description="seconds; a container that says so long that it is free has lost its stream"
    )
    silence_s: Positive = Field(3600.0, description="seconds; a session without any sign of life so long is ended")
    call_timeout_s: Positive = Field(
        30.0, description="seconds; one call to the container's start, stop, update or status"
    )


class DockerSettings(_Section):
    """Docker Engine. DOCKER_HOST and Docker's own credentials are honoured."""

    enabled: bool = Field(True, description="false = never talk to an engine; entries with an image are not launched")
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
    failure_limit: AtLeastOne = Field(
        10,
        description="failures within the window (or never ready between) that park it; an engine, registry or GPU that "
        "is away never counts, and is tried again every backoff_max_s",
    )
    failure_window_s: Positive = Field(600.0, description="seconds; that window")
    drain_timeout_s: Positive = Field(60.0, description="seconds; sessions of a leaving runner may go on this long")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.backoff_min_s > self.backoff_max_s:
            raise ValueError(f"backoff_min_s = {self.backoff_min_s} is above backoff_max_s = {self.backoff_max_s}")
        return self


class LogSettings(_Section):
    """What is logged, and how it looks."""

    format: Literal["auto", "json", "text"] = Field("auto", description="auto = text on a terminal, else JSON")
    level: Literal["debug", "info", "warning", "error"] = Field("info", description="least severity written")


class Settings(_Section):
    """All settings of one daemon."""

    models_file: str = Field("aiModels.json", description="path of the one file that the operator edits")
    models_poll_s: Positive = Field(
        4.0, description="seconds; the file is also looked at this often, for mounts that report no changes"
    )
    strict_file: bool = Field(
        False,
        description="unknown keys in the models file are errors, as with `orchd check --strict`; else only warnings",
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
    orchestrator: OrchestratorSettings = OrchestratorSettings()
    streams: StreamsSettings = StreamsSettings()
    docker: DockerSettings = DockerSettings()
    process: ProcessSettings = ProcessSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    log: LogSettings = LogSettings()


class Setting(NamedTuple):
    """One setting, as people name it: `jobs.listen`, `--jobs-listen`, `ORCHD_JOBS_LISTEN`."""

    name: str
    field: FieldInfo

    @property
    def flag(self) -> str:
        return "--" + re.sub(r"[._]", "-", self.name)

    @property
    def env(self) -> str:
        return "ORCHD_" + self.name.replace(".", "_").upper()

    @property
    def description(self) -> str:
        return self.field.description or ""

    @property
    def default(self) -> str:
        """The default as text, the way a flag takes it."""
        value = self.field.default
        match value:
            case tuple():
                return ",".join(value)
            case bool():
                return str(value).lower()
            case float():
                return f"{value:g}"
            case _:
                return str(value)


def all_settings(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting, in the order of the classes."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from all_settings(field.annotation, f"{name}.")
        else:
            yield Setting(prefix + (field.alias or name), field)


SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in all_settings()}


def settings_table() -> str:
    """Return all settings as a Markdown table; the README holds it."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for setting in SETTINGS.values():
        default = f"`{setting.default}`" if setting.default else "(empty)"
        rows.append(f"| `{setting.name}` | {default} | {setting.description.replace('|', chr(92) + '|')} |")
    return "\n".join(rows) + "\n"
