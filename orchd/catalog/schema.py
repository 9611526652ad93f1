"""One entry of `aiModels.json` as pydantic sees it, which also gives the types of its JSON Schema.

An absent field (or null) is None here: `resolve` fills in the profile's default. Names are snake_case; `names` and
`resolve` map the other spellings onto them first, so no model here needs an alias. Strict: text is not a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, WithJsonSchema

from orchd.catalog import values
from orchd.catalog.field_types import (
    CAPABILITY,
    GATEWAY,
    GPUS,
    NUMBER,
    PATH_OR_AUTO,
    PREFIX,
    WHOLE,
    Count,
    HttpCode,
    Name,
    Path,
    Seconds,
    Text,
    TextOrMore,
    Word,
    size,
    strings,
)
from orchd.catalog.profiles import PROFILES
from orchd.domain.ids import Address
from orchd.domain.model import GpuRequest, HealthKind, Secret
from orchd.domain.money import Currency, PriceUnit


class Fields(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False)

    def given(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields that are there; lists as tuples, as the domain wants them."""
        for name, value in self:
            if value is not None:
                yield name, tuple(value) if isinstance(value, list) else value


class HealthFields(Fields):
    """How orchd asks the runner whether it is ready."""

    kind: Annotated[HealthKind, Field(strict=False)] | None = Field(
        None, description="what a probe is: a status word in JSON, an HTTP code alone, or a TCP connect"
    )
    path: Path | None = Field(None, description="route of the probe")
    status_field: Text | None = Field(None, description="member of the JSON answer that holds the status word")
    ready: list[Word] | None = Field(None, description="status words for ready and free, in any case")
    busy: list[Word] | None = Field(None, description="status words for ready and occupied")
    loading: list[Word] | None = Field(None, description="status words for not yet ready")
    error: list[Word] | None = Field(None, description="status words for broken: the runner is started again")
    ok_codes: Annotated[list[HttpCode], Field(min_length=1)] | None = Field(
        None, description="HTTP codes whose body is read; others fail once the start is over, except the loading codes"
    )
    loading_codes: list[HttpCode] | None = Field(None, description="HTTP codes that mean loading")
    early_loading_codes: list[HttpCode] | None = Field(
        None,
        description="HTTP codes that start loading_timeout_s within start_timeout_s; all others mean loading then too",
    )
    unparsed_as: Literal["ready", "unknown"] | None = Field(
        None, description="what an answer without a status word means"
    )
    interval_s: Seconds | None = Field(None, description="seconds between probes")
    timeout_s: Seconds | None = Field(None, description="seconds until a probe counts as failed")
    failures: Count | None = Field(None, description="failed probes in a row until the runner is not ready")
    successes: Count | None = Field(None, description="good probes in a row until it is ready")
    tolerate_timeout_while_busy: bool | None = Field(
        None, description="a probe that times out does not count while a job makes progress"
    )
    restart_after_s: Seconds | None = Field(
        None, description="seconds; a managed runner that stays unhealthy this long is started again"
    )


class StreamFields(Fields):
    """Realtime routes of the container."""

    update_path: Annotated[str, StringConstraints(pattern=PATH_OR_AUTO)] | None = Field(
        None, description="route for parameter updates; auto = /stream/update, on 404 /stream/params"
    )
    while_loading: Literal["reject"] | None = Field(None, description="a start while the model loads is refused")
    on_second_start: Literal["reject"] | None = Field(None, description="a start beyond maxSessions is refused")


class InferenceFields(Fields):
    """Where and how jobs go to the runner."""

    path: Path | None = Field(None, description="route of jobs on the runner; {pipeline} is filled in")
    timeout_s: Seconds | None = Field(None, description="seconds from the request to the first byte of the answer")
    max_body_mb: Annotated[int, Field(ge=0, le=1_048_576), WHOLE] | None = Field(
        None, description="MiB; largest body of a job, 0 = unlimited"
    )
    early_head_s: Annotated[float, Field(ge=0, le=604_800), NUMBER] | None = Field(
        None,
        description="seconds after which a job of Live Runner's gets status 200 from orchd while the runner still "
        "thinks; 0 = never. Livepeer Node waits 60 s: 50 suits it",
    )


class MetricsFields(Fields):
    """The runner's own Prometheus metrics."""

    path: Path | None = Field(None, description="route of the metrics")
    required: bool | None = Field(None, description="their absence is worth a warning")


class StopFields(Fields):
    """How the runner is stopped."""

    signal: (
        Annotated[str, AfterValidator(values.stop_signal), WithJsonSchema({"type": "string", "enum": values.SIGNALS})]
        | None
    ) = Field(None, description="first signal")
    grace_s: Seconds | None = Field(None, description="seconds from the signal to SIGKILL")
    close_streams: bool | None = Field(
        None, description="POST stop to the stream routes first, for at most half the grace"
    )


class GpuFields(Fields):
    """The GPU that clients are told of."""

    id: (
        Annotated[
            Text,
            BeforeValidator(values.gpu_id),
            WithJsonSchema({"type": ["string", "integer"], "minLength": 1, "minimum": 0}),
        ]
        | None
    ) = Field(None, description="id or index of the GPU")
    name: Text | None = Field(None, description="its name, such as NVIDIA L40S")
    vram_mb: Annotated[int, Field(ge=1, le=100_000_000), WHOLE] | None = Field(None, description="its memory, MiB")


class Entry(Fields):
    """One model, or a further price of one."""

    pipeline: Name | None = Field(None, description="the task, such as text-to-image; with model_id the entry's key")
    model_id: Name | None = Field(None, description="usually a Hugging Face id, org/name; case-sensitive")

    image: (
        Annotated[
            str,
            BeforeValidator(values.image),
            WithJsonSchema({"type": "string", "pattern": values.IMAGE, "maxLength": values.MAX_IMAGE}),
        ]
        | None
    ) = Field(None, description="container image that orchd launches, as Docker names it: org/name:tag")
    command: (
        Annotated[
            list[str],
            BeforeValidator(values.command),
            WithJsonSchema(
                {
                    "type": "array",
                    "minItems": 1,
                    "prefixItems": [{"type": "string", "minLength": 1}],
                    "items": {"type": "string"},
                }
            ),
        ]
        | None
    ) = Field(None, description="argument list of a process that orchd launches, no shell; {port} is its port")
    url: (
        Annotated[Address, BeforeValidator(values.address), WithJsonSchema({"type": "string", "pattern": values.URL})]
        | None
    ) = Field(None, description="base URL of a runner that somebody else runs; orchd probes it and forwards jobs")

    price_per_unit: (
        Annotated[
            Fraction,
            BeforeValidator(values.price),
            WithJsonSchema({"type": ["number", "string"], "minimum": 0, "pattern": values.PRICE}),
        ]
        | None
    ) = Field(None, description="price of pixels_per_unit price units in currency; 0 = free, absent = not offered")
    pixels_per_unit: Annotated[int, Field(ge=1), WHOLE] | None = Field(
        None, description="price units that price_per_unit buys; default 1"
    )
    price_unit: Annotated[PriceUnit, Field(strict=False)] | None = Field(
        None, description="second (default), hour, 720p (an hour of 1280x720 at 30 fps) or fixed (a job or session)"
    )
    currency: Annotated[Currency, Field(strict=False)] | None = Field(
        None, description="of price_per_unit; default wei"
    )
    gateway: Annotated[str, StringConstraints(pattern=GATEWAY)] | None = Field(
        None, description="Ethereum address of the one gateway that this row's price is for"
    )

    capability: Name | None = Field(
        None, description="name under which gateways ask for it; default after orchestrator.capability"
    )
    mode: Literal["persistent", "single-shot"] | None = Field(
        None,
        description="persistent = a session outlives a request (default where the container carries one stream); "
        "single-shot = each request is one (default elsewhere)",
    )

    gpu: GpuFields | None = Field(
        None,
        description="GPU that Live Runner's clients are told of; default for a container with gpus: what the driver "
        "says of them",
    )
    version: Name | None = Field(None, description="version of the model that Live Runner's clients are told")
    metadata: (
        Annotated[
            str,
            BeforeValidator(values.metadata),
            WithJsonSchema(
                {"type": "string", "pattern": values.METADATA, "minLength": 1, "maxLength": values.MAX_METADATA}
            ),
        ]
        | None
    ) = Field(None, description="text that Live Runner's clients are told, such as JSON; at most 1024 bytes in UTF-8")

    run: bool | None = Field(
        None, description="false = orchd does not run it and leaves it to go-livepeer; default true"
    )
    warm: bool | None = Field(None, description="true = runs all the time; false (default) = started by its first job")
    idle_timeout_s: Seconds | None = Field(
        None, description="seconds without sessions until a cold model is stopped; default 300"
    )
    session_idle_s: Seconds | None = Field(
        None,
        description="seconds without any request, byte or payment until a session ends that a client has reserved at "
        "orchd itself; default 60",
    )
    max_sessions: Count | None = Field(None, description="most sessions at once, over all replicas; default 1")
    capacity: Count | None = Field(None, description="go-livepeer's word for maxSessions of a url entry")
    replicas: Annotated[int, Field(ge=1, le=1_000), WHOLE] | None = Field(
        None, description="runners of this entry; default 1"
    )
    token: (
        Annotated[
            Secret,
            BeforeValidator(values.token),
            WithJsonSchema({"type": "string", "pattern": values.BEARER, "writeOnly": True}),
        ]
        | None
    ) = Field(None, description="bearer token for the runner; better in a token_file")
    token_file: Text | None = Field(
        None, description="file that holds the token; looked for in $CREDENTIALS_DIRECTORY, then beside this file"
    )

    profile: (
        Annotated[str, AfterValidator(values.profile), WithJsonSchema({"type": "string", "enum": list(PROFILES)})]
        | None
    ) = Field(None, description="kind of container, which sets the defaults of the knobs below; default byoc")
    port: Annotated[int, Field(ge=1, le=65_535), WHOLE] | None = Field(
        None, description="port that the container listens on"
    )
    start_timeout_s: Seconds | None = Field(
        None, description="seconds from launch until it must answer well; until then failures mean loading"
    )
    loading_timeout_s: Seconds | None = Field(None, description="longest time in loading, seconds")
    route_prefix: Annotated[str, StringConstraints(pattern=PREFIX)] | None = Field(
        None, description='before the stream routes: auto, empty, or such as "/api" (no slash at its end)'
    )
    health: HealthFields | None = Field(None, description="how orchd asks whether it is ready")
    stream: StreamFields | None = Field(None, description="realtime routes")
    inference: InferenceFields | None = Field(None, description="where jobs go")
    metrics: MetricsFields | None = Field(None, description="the runner's own metrics")
    stop: StopFields | None = Field(None, description="how it is stopped")

    optimization_flags: (
        Annotated[dict[str, str], BeforeValidator(values.flags), strings(values.ENV_NAME, "null")] | None
    ) = Field(None, description="such as SFAST; become environment, true as the word true")
    env: Annotated[dict[str, str], BeforeValidator(values.text_map), strings(values.ENV_NAME)] | None = Field(
        None, description="environment; wins over every other source"
    )
    env_file: TextOrMore | None = Field(None, description="file or files of NAME=value lines; found as token_file is")

    entrypoint: TextOrMore | None = Field(None, description="in place of the image's entrypoint")
    args: list[str] | None = Field(None, description="in place of the image's command")
    volumes: (
        list[
            Annotated[str, AfterValidator(values.volume), WithJsonSchema({"type": "string", "pattern": values.VOLUME})]
        ]
        | None
    ) = Field(
        None, description="mounts, each host:container[:ro]; a host path that begins with a dot is beside this file"
    )
    gpus: Annotated[GpuRequest, BeforeValidator(values.gpus), GPUS] | None = Field(
        None, description="all, a count (orchd picks the least loaded), or a list of ids"
    )
    memory: Annotated[int, BeforeValidator(values.memory), size(values.MIN_MEMORY)] | None = Field(
        None, description="most memory, bytes or such as 8g"
    )
    shm_size: Annotated[int, BeforeValidator(values.size), size(1)] | None = Field(
        None, description="size of /dev/shm, bytes or such as 1g"
    )
    cpus: Annotated[float, Field(ge=0.01, le=4096), NUMBER] | None = Field(None, description="most CPUs, such as 1.5")
    user: (
        Annotated[
            Text,
            BeforeValidator(values.user),
            WithJsonSchema({"type": ["string", "integer"], "minLength": 1, "minimum": 0}),
        ]
        | None
    ) = Field(None, description="user or uid[:gid] in the container")
    cap_add: list[Annotated[str, StringConstraints(pattern=CAPABILITY)]] | None = Field(
        None, description="Linux capabilities to add; all others are dropped"
    )
    pull: Literal["missing", "always", "never"] | None = Field(
        None, description="when the image is pulled; default missing"
    )
    labels: Annotated[dict[str, str], BeforeValidator(values.labels), strings(values.LABEL_NAME)] | None = Field(
        None, description="labels of the container, outside orchd.*"
    )
    init: bool | None = Field(None, description="an init as PID 1, for images that spawn children; default false")


SECTIONS: dict[str, type[Fields]] = {
    name: cls
    for name, info in Entry.model_fields.items()
    for cls in get_args(info.annotation)
    if isinstance(cls, type) and issubclass(cls, Fields)
}
"""Fields of an entry that are objects of fields themselves."""
