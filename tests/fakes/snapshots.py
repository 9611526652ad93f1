"""A snapshot with one model of each sort that a reader may meet, and a secret planted in every text it could reach."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from fractions import Fraction

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerEvent as E
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.model import (
    ContainerLaunch,
    ExternalLaunch,
    HealthSpec,
    InferenceSpec,
    Launch,
    MetricsSpec,
    Model,
    ProcessLaunch,
    Secret,
    StopSpec,
    StreamSpec,
)
from orchd.domain.money import Price
from orchd.domain.offer import Callback, NodeProgram, NodeStatus, Published
from orchd.domain.state import (
    DaemonStatus,
    Happening,
    JobCounts,
    ModelStatus,
    Problem,
    RunnerErrors,
    RunnerStatus,
    RuntimeStatus,
    Severity,
    Snapshot,
    StreamStatus,
)
from orchd.domain.whereabouts import Whereabouts
from orchd.errors import Code


def fresh(read: Callable[[], Snapshot]) -> Callable[[], Awaitable[Snapshot]]:
    """Return `read` as those take it that wait for a snapshot to be made."""

    async def made() -> Snapshot:
        return read()

    return made


SECRET = "planted-51e8a0c7d4"
NOW = 1_700_000_000.0
DIGEST = f"ghcr.io/acme/runner@sha256:{'5d' * 32}"


def model(
    pipeline: str, model_id: str, launch: Launch | None = None, *, replicas: int = 1, max_sessions: int = 1
) -> Model:
    return Model(
        key=ModelKey(pipeline, model_id),
        launch=launch
        or ContainerLaunch(image="ghcr.io/acme/runner:1.2", env=(("HF_TOKEN", SECRET),), args=("--key", SECRET)),
        profile="batch",
        health=HealthSpec(),
        stream=StreamSpec(),
        inference=InferenceSpec(path=f"/{pipeline}"),
        metrics=MetricsSpec(),
        stop=StopSpec(),
        replicas=replicas,
        max_sessions=max_sessions,
        warm=True,
        token=Secret(SECRET),
        price=Price(Fraction(3, 2), 1),
    )


def runner(of: Model, replica: int, state: S, age: float, detail: str = "", **more: object) -> RunnerStatus:
    return RunnerStatus(
        RunnerId(of.key, replica, of.generation),
        state,
        NOW - age,
        wanted=True,
        detail=detail,
        **more,  # type: ignore[arg-type]
    )


def status(of: Model, *runners: RunnerStatus, **more: object) -> ModelStatus:
    fields: dict[str, object] = {
        "ready": any(one.state is S.READY for one in runners),
        "startable": False,
        "reason": "",
        "sessions": sum(one.sessions for one in runners),
        "waiting": 0,
        "history": (),
    }
    return ModelStatus(model=of, runners=runners, **(fields | more))  # type: ignore[arg-type]


def snapshot(*, green_sessions: int = 1) -> Snapshot:
    green = model(
        "live/video-to-video", "green-tint-cpu", ProcessLaunch(("python3", "x.py", SECRET), "/"), max_sessions=4
    )
    sdxl = model("text-to-image", "stabilityai/sdxl-turbo", replicas=2, max_sessions=8)
    llm = model("llm", "meta-llama/Meta-Llama-3.1-8B-Instruct")
    cold = model("audio-to-text", "openai/whisper-large-v3")
    remote = model("image-to-text", "図書館/キャプション", ExternalLaunch(Address("10.0.0.9", 9000)))
    died = "exited with code 137, out of memory; started 6 times within 10 minutes, each time it failed"
    moves = (
        (E.PREPARE, S.COLD, S.PULLING, "its entry is warm", ""),
        (E.PREPARE_OK, S.PULLING, S.PREPARED, "container created", "image ghcr.io/acme/runner:1.2 is here"),
        (E.START, S.PREPARED, S.STARTING, "nothing else holds its place", ""),
        (E.STARTED, S.STARTING, S.LOADING, "container runs", ""),
        (
            E.EXITED,
            S.LOADING,
            S.STOPPING,
            "the container ended by itself",
            f"exit code 137, OOM killed; Bearer {SECRET}",
        ),
        (E.STOPPED_TOO_OFTEN, S.STOPPING, S.FAILED, died, f"last log line: token={SECRET}"),
    )
    history = tuple(
        Happening(NOW - 300 + 7 * n, RunnerId(llm.key, 0, llm.generation), *move) for n, move in enumerate(moves)
    )
    all_models = (
        status(
            green,
            runner(
                green,
                0,
                S.READY,
                190,
                sessions=green_sessions,
                handle="p-1",
                address="http://127.0.0.1:40001",
                source="python3",
                whereabouts=Whereabouts(pid=4711, port=40001),
            ),
        ),
        status(
            sdxl,
            runner(
                sdxl,
                0,
                S.READY,
                90_000,
                sessions=3,
                restarts=1,
                handle="3f2a" * 16,
                address="http://127.0.0.1:32768",
                whereabouts=Whereabouts(
                    "default-sdxl-0", "ghcr.io/acme/runner:1.2", "sha256:77", DIGEST, 0, 8000, 32768
                ),
            ),
            runner(sdxl, 1, S.BACKOFF, 4, "exited with code 1: CUDA error", retry_at=NOW + 8, restarts=3),
            runner_errors=RunnerErrors(7, NOW - 12, 503),
            jobs=JobCounts({"refused": 3, "ok": 120, "runner_error": 7}, {"capacity_exhausted": 3}),
        ),
        status(
            llm,
            runner(llm, 0, S.FAILED, 258, died, restarts=6, last_log=("loading shards 3/4", f"\x1b[31mtoken={SECRET}")),
            reason=f"replica 0 failed: {died}",
            last_failure=died,
            history=history,
        ),
        status(cold, startable=True, reason="cold: its first job starts it", waiting=2),
        status(remote, runner(remote, 0, S.UNHEALTHY, 31, f"connection refused, Authorization: Bearer {SECRET}")),
    )
    return Snapshot(
        at=NOW,
        models={one.model.key: one for one in all_models},
        problems=(
            Problem(
                Severity.ERROR,
                Code.ENTRY_INVALID,
                "cannot read health.interval_s = 'often': a number of seconds is expected",
                file="/etc/orchd/aiModels.json",
                line=41,
                column=7,
                entry=2,
                field="health.interval_s",
                key=llm.key,
            ),
            Problem(
                Severity.WARNING,
                Code.ENTRY_INVALID,
                "unknown key maxSesions; did you mean maxSessions?",
                file="/etc/orchd/aiModels.json",
                line=12,
                entry=0,
            ),
        ),
        runtimes=(
            RuntimeStatus(
                "container", up=False, detail="cannot reach Docker Engine at /var/run/docker.sock: no such file"
            ),
            RuntimeStatus("process", up=True),
        ),
        daemon=DaemonStatus("0.9.0", "default", 812, NOW - 90_000, "127.0.0.1:8738"),
        jobs=JobCounts({"refused": 14, "ok": 412, "runner_error": 7}, {"not_ready": 4, "capacity_exhausted": 10}),
        jobs_listen=("0.0.0.0:8935",),
        file_hash="1f0c9a3b7d21",
        reload_ok=True,
        reload_at=NOW - 125,
    )


NODE = NodeStatus(
    up=True,
    epoch=2,
    since=NOW - 11_000,
    on_chain=True,
    version="0.9.1",
    registries=("byoc", "live-runner"),
    program=NodeProgram.GO_LIVEPEER,
    callback=Callback("http://127.0.0.1:8737", by_us=True, by_node=True, since=NOW - 11_000),
)
NODE_DOWN = replace(
    NODE,
    up=False,
    since=NOW - 260,
    error="cannot reach go-livepeer at https://127.0.0.1:8935: connection refused; is it running?",
    code=Code.NODE_UNREACHABLE,
)


def published(
    age: float, *, wanted: bool = True, published: bool = True, confirmed: bool | None = True, **more: object
) -> Published:
    return Published(wanted, published, confirmed, NOW - age, **more)  # type: ignore[arg-type]


def beside(node: NodeStatus) -> Snapshot:
    """Return `snapshot` with a node, in whose registries its models stand in different ways."""
    byoc, live = "byoc", "live-runner"
    refused = "cannot register the model at go-livepeer: it says 'price too high'"
    unlisted = "cannot confirm what go-livepeer offers: it is not listed"
    listed = "cannot confirm what go-livepeer offers: it is still listed"
    free = "cannot publish the price: 0 can't be published on chain"
    offered = published(190, price="1200/1 wei per second")
    green, sdxl, llm, cold, remote = before = tuple(snapshot().models.values())
    after = (
        replace(
            green,
            registries={byoc: offered, live: published(185, price="1.2 usd per hour")},
            streams=(
                StreamStatus("gw-41c7", "byoc", "running", NOW - 61, 0),
                StreamStatus("session_a81f", "live-runner", "held", NOW - 3, 0),
            ),
        ),
        replace(
            sdxl,
            registries={
                byoc: offered,
                live: published(900, confirmed=False, error=unlisted, code=Code.NODE_REFUSED, price="1.2 usd per hour"),
            },
        ),
        replace(
            llm,
            registries={
                byoc: published(258, wanted=False, confirmed=None),
                live: published(258, wanted=False, published=False, error=listed, code=Code.NODE_REFUSED),
            },
            not_offered=llm.reason,
        ),
        replace(cold, not_offered="it is cold, and cold models are not offered (orchestrator.offer_cold)"),
        replace(
            remote,
            registries={
                byoc: published(4, published=False, confirmed=None, error=refused, code=Code.NODE_REFUSED),
                live: published(0, published=False, confirmed=None, error=free, code=Code.PRICE_UNPUBLISHABLE),
            },
        ),
    )
    return replace(snapshot(), node=node, models={old.model.key: new for old, new in zip(before, after, strict=True)})
