"""One resolved entry of `aiModels.json`: every default filled in, every file it names read.

Source of the knobs and their defaults: the container contract, table 5.3 (docs/protocol/container.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from orchd.domain.details import NO_DETAILS, Details
from orchd.domain.fingerprint import fingerprint
from orchd.domain.ids import Address, ModelKey
from orchd.domain.money import Price


@dataclass(frozen=True, slots=True)
class Secret:
    """A value that never reaches a log, a metric, an error, `repr` or the status API."""

    value: str = field(repr=False)

    def __str__(self) -> str:
        return "***"


class RunnerKind(StrEnum):
    """Who runs it: also the name of the Runtime that launches it."""

    CONTAINER = "container"
    PROCESS = "process"
    EXTERNAL = "external"

    @property
    def launched(self) -> bool:
        """We start and stop runners of this kind."""
        return self is not RunnerKind.EXTERNAL

    @property
    def ends_with_orchd(self) -> bool:
        """Its runners are children of the daemon, and don't outlive it."""
        return self is RunnerKind.PROCESS


class HealthKind(StrEnum):
    HTTP_JSON = "http-json"
    HTTP_STATUS = "http-status"
    TCP = "tcp"


@dataclass(frozen=True, slots=True)
class HealthSpec:
    """How to ask a runner whether it is ready, and how to read its answer.

    Attributes:
        status_field: member of the JSON object that holds the status word.
        ready, busy, loading, error: status words, lower case; looked up in the order error, loading, ready, busy.
        ok_codes: HTTP codes whose body is read. Others fail, except `loading_codes`.
        early_loading_codes: mean that it says itself that it loads, only while inside the start window.
        unparsed_as: what a body without a status word means.
        failures, successes: consecutive probes until the verdict changes.
        tolerate_timeout_while_busy: a probe that times out does not count while a job makes progress.
        restart_after_s: a managed runner that stays unhealthy this long is restarted.
    """

    kind: HealthKind = HealthKind.HTTP_JSON
    path: str = "/health"
    status_field: str = "status"
    ready: tuple[str, ...] = ("ok", "idle", "ready", "healthy")
    busy: tuple[str, ...] = ()
    loading: tuple[str, ...] = ("loading", "initializing", "starting")
    error: tuple[str, ...] = ("error", "failed")
    ok_codes: tuple[int, ...] = (200,)
    loading_codes: tuple[int, ...] = ()
    early_loading_codes: tuple[int, ...] = ()
    unparsed_as: Literal["ready", "unknown"] = "unknown"
    interval_s: float = 5.0
    timeout_s: float = 5.0
    failures: int = 2
    successes: int = 1
    tolerate_timeout_while_busy: bool = True
    restart_after_s: float = 15.0


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Realtime routes of the container.

    Attributes:
        post_starts_stream: a POST on the inference path starts a stream (profiles B, C, E, F).
        route_prefix: `auto`, empty or such as `/api`; None where the container has no stream routes.
        update_path: `auto`, or such as `/stream/params`.
    """

    post_starts_stream: bool = False
    route_prefix: str | None = "auto"
    update_path: str = "auto"
    while_loading: Literal["reject"] = "reject"
    on_second_start: Literal["reject"] = "reject"


@dataclass(frozen=True, slots=True)
class InferenceSpec:
    """How batch jobs reach the runner.

    Attributes:
        path: where batch jobs go on the runner; `{pipeline}` already filled in.
        timeout_s: from the request sent to the first byte of the answer.
        max_body_mb: MiB; 0 = unlimited.
        early_head_s: a job of Live Runner's gets a head from us once the runner has had it that long; 0 = never.
    """

    path: str
    timeout_s: float = 60.0
    max_body_mb: int = 64
    early_head_s: float = 0.0


@dataclass(frozen=True, slots=True)
class MetricsSpec:
    path: str = "/metrics"
    required: bool = False


@dataclass(frozen=True, slots=True)
class StopSpec:
    """How a runner is stopped.

    Attributes:
        signal: name of the first signal, such as `SIGTERM`.
        grace_s: from the signal to SIGKILL.
        close_streams: POST stop to the container's stream routes first, for at most half the grace.
    """

    signal: str = "SIGTERM"
    grace_s: float = 10.0
    close_streams: bool = False


@dataclass(frozen=True, slots=True)
class GpuRequest:
    """Which GPUs an entry asks for.

    Attributes:
        mode: `all`, `count` (orchd picks the least-loaded ids) or `ids`.
    """

    mode: Literal["all", "count", "ids"]
    count: int = 0
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ContainerLaunch:
    """What a container needs. All of it is part of the fingerprint; see `fingerprint.py` before adding to it.

    Attributes:
        env: names and values, sorted; values may be secret, so they are kept out of `repr`.
        volumes: `host:container[:ro]`, as Docker's `-v`.
        memory_bytes, shm_bytes: None = Docker's default.
        stop_signal: written into the container's own stop-signal setting.
    """

    image: str
    port: int = 8000
    entrypoint: tuple[str, ...] | None = None
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    volumes: tuple[str, ...] = ()
    gpus: GpuRequest | None = None
    memory_bytes: int | None = None
    shm_bytes: int | None = None
    cpus: float | None = None
    user: str | None = None
    cap_add: tuple[str, ...] = ()
    pull: Literal["missing", "always", "never"] = "missing"
    labels: tuple[tuple[str, str], ...] = ()
    init: bool = False
    stop_signal: str = "SIGTERM"
    kind: Literal[RunnerKind.CONTAINER] = RunnerKind.CONTAINER


@dataclass(frozen=True, slots=True)
class ProcessLaunch:
    """What a child process needs. `{port}` in an argument becomes the free port, as does `PORT` in the environment.

    Attributes:
        cwd: absolute; the folder of `aiModels.json`.
    """

    argv: tuple[str, ...]
    cwd: str
    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    kind: Literal[RunnerKind.PROCESS] = RunnerKind.PROCESS


@dataclass(frozen=True, slots=True)
class ExternalLaunch:
    """Somebody else runs it: we only probe and forward."""

    address: Address
    kind: Literal[RunnerKind.EXTERNAL] = RunnerKind.EXTERNAL


Launch = ContainerLaunch | ProcessLaunch | ExternalLaunch


@dataclass(frozen=True, slots=True)
class Model:
    """What is desired of one model.

    Attributes:
        max_sessions: most sessions at once over all replicas, >= 1.
        sessions_per_replica: most sessions on one runner; None = no limit of its own.
        start_timeout_s: from launch until it must answer well; until then silence and failures count as loading.
        loading_timeout_s: longest time in LOADING.
        idle_timeout_s: a cold model's runner is stopped after this long without sessions.
        token: sent as bearer to the runner, never to its health route.
        price: None = not offered for pay.
        capability: what gateways ask for; None = after the daemon's pattern.
        persistent: sessions outlive a request; else each request is one.
        session_idle_s: one that orchd has sold ends after this long without any use.
        gateway_prices: (gateway address, price), from rows that differ only in `gateway`.
        details: as the entry has them.
    """

    key: ModelKey
    launch: Launch
    profile: str
    health: HealthSpec
    stream: StreamSpec
    inference: InferenceSpec
    metrics: MetricsSpec
    stop: StopSpec
    start_timeout_s: float = 180.0
    loading_timeout_s: float = 180.0
    replicas: int = 1
    max_sessions: int = 1
    sessions_per_replica: int | None = None
    warm: bool = False
    idle_timeout_s: float = 300.0
    token: Secret | None = None
    price: Price | None = None
    gateway_prices: tuple[tuple[str, Price], ...] = ()
    capability: str | None = None
    persistent: bool = False
    session_idle_s: float = 60.0
    details: Details = NO_DETAILS

    def name_for_gateways(self, pattern: str) -> str:
        """Return what gateways ask for: its own name, or `pattern` with {pipeline} and {model_id} filled in."""
        return self.capability or pattern.format(pipeline=self.key.pipeline, model_id=self.key.model_id)

    @property
    def kind(self) -> RunnerKind:
        return self.launch.kind

    @property
    def managed(self) -> bool:
        """We start and stop it."""
        return self.launch.kind.launched

    @property
    def source(self) -> str:
        """What the entry names: image, program or URL. Arguments are left out, they may hold secrets."""
        match self.launch:
            case ContainerLaunch(image=image):
                return image
            case ExternalLaunch(address=address):
                return address.url
            case process:
                return process.argv[0]

    @property
    def generation(self) -> str:
        """Fingerprint of what the runner needs: 12 hex digits. Offer-only fields (price, sessions, health) are out.

        `pull` is left out too: it says how to get the image, not which.
        """
        return fingerprint(self.launch)
