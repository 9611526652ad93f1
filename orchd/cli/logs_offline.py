"""What `orchd logs` can show without a daemon: logs that it kept, files of processes, and containers that still run."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncGenerator, Iterable, Iterator
from pathlib import Path
from typing import Any

from orchd.database.beside import DATABASE, read_beside
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.redact import Scrubber, secret_values
from orchd.domain.runs import KeptRun, LogView
from orchd.errors import Code, OrchdError, StoreError, reason_of
from orchd.runtime.kept_logs import FOLDER, KeptLogs
from orchd.runtime.log_files import pieces, size_of, tail_from
from orchd.status_view import find_model

Json = dict[str, Any]

CALL_TIMEOUT_S = 10.0


def logs_without_daemon(state_dir: Path, instance: str, asked: Json) -> Iterator[Json]:
    """Yield the same lines as the daemon does (`control/logs.py`).

    Raises:
        OrchdError: there is nothing to show.
    """
    kept = KeptLogs(state_dir / FOLDER)
    try:
        definitions, unknown = _definitions(state_dir)
        key = find_model(asked["model"], {*definitions, *kept.models()})
        ended = kept.runs(key)
        files = _files(state_dir, key)
    except OSError as exc:
        raise OrchdError(f"cannot look for logs in {state_dir}: {reason_of(exc)}") from exc
    mine = definitions.get(key, [])
    if mine and mine[-1]["launch"]["kind"] == "external":
        raise OrchdError(f"cannot show logs of {key}: orchd does not run it; look where it runs", code=Code.BAD_REQUEST)
    secrets = {value for definition in mine for value in _secrets_in(definition)}
    view = LogView(asked["tail"], asked["since"])
    containers: dict[int, str] = {}
    if any(definition["launch"]["kind"] == "container" for definition in mine):
        containers, note = _containers(instance, key)
        if note:
            yield {"note": note}
    replicas = sorted({*files, *containers, *(run.run.runner.replica for run in ended)})
    if asked["replica"] is not None:
        replicas = [replica for replica in replicas if replica == asked["replica"]]
    if not replicas:
        raise OrchdError(f"cannot show logs of {key}: nothing of it is left in {state_dir}", code=Code.UNKNOWN_TARGET)
    if asked["follow"]:
        yield {"note": "without a daemon nothing can be followed; this is what there is now"}
    yield {"several": len(replicas) > 1}
    for replica in replicas:
        runs = [run for run in ended if run.run.runner.replica == replica]
        name = f"{key}#{replica}"
        if replica in containers and not asked["previous"]:
            yield {"note": f"{name} is the container {containers[replica][:12]}"}
            yield from _data(replica, _of_container(containers[replica], view), secrets)
        elif replica in files and not asked["previous"]:
            yield {"note": f"{name} is a process, {_about_process(files[replica], '' if mine else unknown)}"}
            if mine:
                yield from _data(replica, _of_file(files[replica], 0, view), secrets)
        else:
            running = replica in files or replica in containers
            yield from _ended(key, replica, runs if running or not asked["previous"] else runs[:-1], view)


def _definitions(state_dir: Path) -> tuple[dict[ModelKey, list[Json]], str]:
    """Return what the store has of each model, the current definition last, and why it may have nothing of one."""
    try:
        rows = read_beside(
            state_dir / DATABASE,
            lambda sql: sql.rows("SELECT pipeline, model_id, definition FROM models ORDER BY current, saved_at"),
        )
    except StoreError as exc:
        return {}, exc.message
    found: dict[ModelKey, list[Json]] = {}
    for pipeline, model_id, definition in rows:
        try:
            read = json.loads(definition)
            read["launch"]["kind"]
        except (ValueError, KeyError, TypeError):
            continue  # A row of another version.
        found.setdefault(ModelKey(pipeline, model_id), []).append(read)
    return found, f"its entry is not in {state_dir / DATABASE}"


def _secrets_in(definition: Json) -> Iterable[str]:
    token = definition.get("token") or {}
    return secret_values(token.get("value"), definition["launch"].get("env") or ())


def _files(state_dir: Path, key: ModelKey) -> dict[int, Path]:
    """Return the log of each replica's process that was written last."""
    found: dict[int, Path] = {}
    paths = [path for path in (state_dir / "logs").glob(f"{key.slug}-*.log") if path.is_file()]
    for path in sorted(paths, key=lambda path: path.stat().st_mtime):
        replica = path.stem.removeprefix(f"{key.slug}-").partition("-")[0]
        generation = path.stem.rpartition("-")[2]
        ours = replica.isdecimal() and path.stem == RunnerId(key, int(replica), generation).name
        if ours and path.stat().st_size:
            found[int(replica)] = path
    return found


def _about_process(file: Path, unknown: str) -> str:
    """Return what to say of a process's log. `unknown`: why its secrets are not known; empty = they are."""
    if unknown:
        return f"whose log is not shown, since it may hold secrets that are not known: {unknown}; it is {file}"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(file.stat().st_mtime))
    return f"which wrote this until {at}; whether it still runs is not known"


def _ended(key: ModelKey, replica: int, runs: list[KeptRun], view: LogView) -> Iterator[Json]:
    if not runs:
        yield {"note": f"of {key}#{replica} no earlier run is kept"}
        return
    last = runs[-1]
    if view.since is None or last.run.ended_at >= view.since:
        yield from _data(replica, _of_file(Path(last.file), last.log_at, view), ())
    yield {"model": str(key), "replica": replica, "at": last.run.ended_at, "ended": last.run.how}


def _of_file(path: Path, start: int, view: LogView) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            end = size_of(file)
            yield from pieces(file, tail_from(file, start, end, view.tail), end)
    except OSError as exc:
        raise OrchdError(f"cannot read the log {path}: {reason_of(exc)}") from exc


def _data(replica: int, found: Iterable[bytes], secrets: Iterable[str]) -> Iterator[Json]:
    scrubber = Scrubber(secrets)
    for piece in found:
        yield {"replica": replica, "data": base64.b64encode(scrubber.feed(piece)).decode()}
    yield {"replica": replica, "data": base64.b64encode(scrubber.end()).decode()}


def _containers(instance: str, key: ModelKey) -> tuple[dict[int, str], str]:
    """Return the container of each replica that has one, and what to say if that can't be known."""
    import asyncio

    from orchd.runtime.docker import spec
    from orchd.runtime.docker.engine import Engine

    async def look() -> list[Json]:
        engine = Engine(CALL_TIMEOUT_S)
        try:
            await engine.connect()
            return await engine.containers(f"{spec.INSTANCE}={instance}")
        finally:
            await engine.close()

    try:
        entries = asyncio.run(look())
    except OrchdError as exc:
        return {}, f"whether its containers still run is not known: {exc.message}"
    found: dict[int, str] = {}
    for entry in sorted(entries, key=lambda entry: int(entry["Created"])):
        runner = spec.runner_of(spec.own_name(entry["Names"] or ()), entry["Labels"] or {})
        if runner is not None and runner.key == key and entry["State"] != "created":
            found[runner.replica] = str(entry["Id"])
    return found, ""


def _of_container(handle: str, view: LogView) -> Iterator[bytes]:
    import asyncio

    from orchd.runtime.docker.container_log import read_log
    from orchd.runtime.docker.engine import Engine

    with asyncio.Runner() as runner:
        engine = Engine(CALL_TIMEOUT_S)
        found: AsyncGenerator[bytes, None] = read_log(engine, handle, view)

        async def following() -> bytes:
            return await anext(found, b"")

        try:
            runner.run(engine.connect())
            while piece := runner.run(following()):
                yield piece
        finally:
            runner.run(found.aclose())
            runner.run(engine.close())
