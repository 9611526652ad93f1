"""An upgrade of orchd restarts no container: this version starts with what former releases have left behind.

`tests/data/releases/` is made by `former_release.py`.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import field, make_dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from orchd import tasks
from orchd.admin.settings import AdminSettings
from orchd.advertise.byoc import wire as byoc_wire
from orchd.advertise.byoc.kept import UNREADABLE
from orchd.advertise.live_runner import wire as live_wire
from orchd.app import App
from orchd.catalog.tables import ModelTable
from orchd.domain import fingerprint
from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import ContainerLaunch, GpuRequest, Model, ProcessLaunch
from orchd.domain.ports import Runtime, SightedAs
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.state import Severity
from orchd.errors import StoreError
from orchd.jobs.settings import JobsSettings
from orchd.node.route_secrets import is_key, new_key
from orchd.node.tables import SecretTable
from orchd.part import Context
from orchd.realtime.tables import StreamTable
from orchd.reconcile.part import ReconcilePart
from orchd.reconcile.settings import ReconcileSettings
from orchd.runtime.docker import spec
from orchd.runtime.docker.settings import DockerSettings
from orchd.runtime.part import RuntimesPart
from orchd.settings.tree import Settings
from tests.catalog.helpers import read_text
from tests.database.parts import backups, opened_own
from tests.fakes.models import container_model
from tests.fakes.runtime import FakeContainer, FakeRuntime
from tests.upgrade.former_release import SIDE_FILES

RELEASES = sorted((Path(__file__).parents[1] / "data" / "releases").iterdir())
release = pytest.mark.parametrize("left", RELEASES, ids=lambda path: path.name)


def remembered(left: Path) -> list[dict[str, Any]]:
    """Return the runners that the release had, as their runtime remembers them."""
    found: list[dict[str, Any]] = json.loads((left / "runners.json").read_text())
    return found


def ids(left: Path) -> set[RunnerId]:
    return {RunnerId(ModelKey(*each["key"]), each["replica"], each["generation"]) for each in remembered(left)}


@release
def test_the_file_of_a_former_release_asks_for_the_generations_that_it_asked_for_then(left: Path) -> None:
    reading = read_text((left / "aiModels.json").read_bytes(), files=SIDE_FILES)
    assert [str(p) for p in reading.problems if p.severity is Severity.ERROR] == []
    wanted = {
        RunnerId(model.key, replica, model.generation)
        for model in reading.models.values()
        for replica in range(model.replicas if model.managed else 0)
    }
    former = {id for id in ids(left) if id not in wanted}
    assert wanted <= ids(left)
    assert len(former) == 1, "of the edit that was under way"


@release
def test_labels_of_a_former_release_name_their_runners(left: Path) -> None:
    for each in remembered(left):
        if "labels" in each:
            runner = RunnerId(ModelKey(*each["key"]), each["replica"], each["generation"])
            assert spec.runner_of(each["name"], each["labels"]) == runner
            assert spec.container_name(each["labels"][spec.INSTANCE], runner) == each["name"]


@release
async def test_every_row_of_a_former_releases_store_is_read_under_its_own_name(left: Path, tmp_path: Path) -> None:
    shutil.copy(left / "orchd.db", tmp_path / "orchd.db")
    async with opened_own(tmp_path) as database:
        with closing(sqlite3.connect(tmp_path / "orchd.db")) as db, db:
            rows = {tuple(row) for row in db.execute("SELECT pipeline, model_id, generation, current FROM models")}
        stored = await ModelTable(database).models()
        assert {(*s.model.key, s.model.generation, int(s.current)) for s in stored} == rows
        assert len(await StreamTable(database).streams()) == 1
        assert await SecretTable(database).secret("route key")


@release
async def test_a_former_releases_database_is_backed_up_whole_before_it_is_taken_over(
    left: Path, tmp_path: Path
) -> None:
    shutil.copy(left / "orchd.db", tmp_path / "orchd.db")
    for _ in range(2):  # The second time nothing is left to do.
        async with opened_own(tmp_path):
            pass
    backup = tmp_path / "orchd.db.schema-2.bak"
    assert backups(tmp_path) == [backup]
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert dump(backup) == dump(left / "orchd.db")


def dump(path: Path) -> list[str]:
    """Return all that a database holds, as SQL."""
    with closing(sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)) as db:
        return [*db.iterdump(), *map(str, db.execute("PRAGMA user_version"))]


async def test_a_schema_of_a_newer_orchd_is_refused_and_what_runs_goes_on(tmp_path: Path) -> None:
    left = RELEASES[-1]
    copied = tmp_path / "left"
    shutil.copytree(left, copied)
    async with opened_own(copied):
        pass
    with closing(sqlite3.connect(copied / "orchd.db")) as db, db:
        db.execute("INSERT INTO schema_migrations VALUES ('catalog', 900, 'later', 0.0, 'orchd.db.schema-2.bak')")
    db.close()
    machine = Machine(left)
    before = {each.runner: each.status for each in machine.engine.containers.values()}
    state = tmp_path / "state"
    state.mkdir()
    shutil.copy(copied / "orchd.db.schema-2.bak", state)
    with pytest.raises(StoreError, match=r"Start the newer orchd .* copy .*orchd\.db\.schema-2\.bak in its place"):
        async with daemon(machine, copied, state, (left / "aiModels.json").read_text()):
            pass
    assert {each.runner: each.status for each in machine.engine.containers.values()} == before
    assert {call for call in ("stop", "remove", "prepare", "start") if machine.engine.count(call)} == set()


class Machine:
    """The containers of the former release, on a fake engine; the store is a real one."""

    def __init__(self, left: Path) -> None:
        self.engine = FakeRuntime(delay_s=0.0)
        self.server: asyncio.Server
        for number, each in enumerate(remembered(left)):
            if "labels" in each and (runner := spec.runner_of(each["name"], each["labels"])):
                handle = f"left-{number}"
                self.engine.containers[handle] = FakeContainer(handle, runner, SightedAs.RUNNING)

    def runtimes(self, context: Context) -> RuntimesPart:
        engine = self.engine

        class OneEngine(RuntimesPart):
            def make(self) -> Mapping[RuntimeId, Runtime]:
                return {engine.id: engine}

        return OneEngine(context)

    async def serve(self) -> None:
        """Have all of them answer that they are ready."""
        self.server = await asyncio.start_server(_ready, "127.0.0.1", 0)
        for container in self.engine.containers.values():
            container.host, container.port = "127.0.0.1", self.server.sockets[0].getsockname()[1]


async def _ready(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
    body = b'{"status": "IDLE"}'
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(body) + body)
    writer.close()


@asynccontextmanager
async def daemon(machine: Machine, left: Path, folder: Path, models_file: str) -> AsyncIterator[App]:
    """This version of orchd on that machine, from `running` to its stop."""
    shutil.copy(left / "orchd.db", folder / "orchd.db")
    for name, text in SIDE_FILES.items():
        (folder / name).write_text(text)
    (folder / "aiModels.json").write_text(models_file)
    settings = Settings(
        models_file=str(folder / "aiModels.json"),
        state_dir=str(folder),
        docker=DockerSettings(enabled=True),
        jobs=JobsSettings(listen=("127.0.0.1:0",)),
        admin=AdminSettings(listen="127.0.0.1:0"),
        reconcile=ReconcileSettings(period_s=0.05),
        shutdown_drain_s=0.1,
    )
    await machine.serve()
    app = App(settings, {}, {RuntimesPart: machine.runtimes})
    running = tasks.spawn(app.run(), name="orchd")
    try:
        while not app.accepting:
            assert not running.done(), running.result()
            await asyncio.sleep(0.01)
        yield app
    finally:
        app.stop()
        machine.server.close()
        await machine.server.wait_closed()
        await running


@release
async def test_this_version_adopts_what_a_former_release_has_left_and_restarts_nothing(
    left: Path, tmp_path: Path
) -> None:
    machine = Machine(left)
    # A process's folder is part of what it needs, and here it is another one.
    entries = [e for e in json.loads((left / "aiModels.json").read_text()) if "command" not in e and "url" not in e]
    before = {c.runner: c.handle for c in machine.engine.containers.values()}
    wanted = {RunnerId(m.key, r, m.generation) for m in _models(left).values() for r in range(m.replicas)} & set(before)
    with capture_logs() as logs:
        async with daemon(machine, left, tmp_path, json.dumps(entries)) as app:
            cold = next(m for m in _models(left).values() if m.managed and not m.warm)
            async with asyncio.timeout(30):
                while not app.part(ReconcilePart).loop.converged():
                    await app.part(ReconcilePart).loop.changed()
            ready = {key for key, status in app.part(ReconcilePart).snapshots.now().models.items() if status.ready}
            assert {id.key for id in wanted} <= ready | {cold.key}
    for runner in wanted:
        assert machine.engine.containers[before[runner]].status is SightedAs.RUNNING, runner
    assert machine.engine.count("prepare") == machine.engine.count("start") == 0
    assert [line for line in logs if line["event"] in ("stray_found", "stored_row_unreadable", "task_failed")] == []


def _models(left: Path) -> Mapping[ModelKey, Model]:
    return read_text((left / "aiModels.json").read_bytes(), files=SIDE_FILES).models


# Fields that this or a later version adds.

Longer = make_dataclass("ContainerLaunch", [("later", str, "as before")], bases=(ContainerLaunch,), frozen=True)
LongerProcess = make_dataclass(
    "ProcessLaunch", [("later", tuple, field(default_factory=tuple))], bases=(ProcessLaunch,), frozen=True
)
LongerGpus = make_dataclass("GpuRequest", [("share", bool, False)], bases=(GpuRequest,), frozen=True)


class LongerAddress(NamedTuple):
    host: str
    port: int
    scheme: str = "http"
    base_path: str = ""
    resolver: str = ""


def test_a_field_that_a_version_adds_changes_no_fingerprint_until_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus = GpuRequest("count", 2)
    old = container_model(launch=ContainerLaunch("a:1", args=("x",), gpus=gpus)).generation
    longer = LongerGpus("count", 2)
    assert container_model(launch=Longer("a:1", args=("x",), gpus=longer)).generation == old
    assert container_model(launch=Longer("a:1", args=("x",), gpus=longer, later="other")).generation != old
    assert container_model(launch=Longer("a:1", args=("x",), gpus=replace(longer, share=True))).generation != old

    process = container_model(launch=ProcessLaunch(("a",), "/x")).generation
    assert container_model(launch=LongerProcess(("a",), "/x")).generation == process
    assert container_model(launch=LongerProcess(("a",), "/x", later=(1,))).generation != process

    needs = fingerprint.needs
    address = needs(Address("h", 1))
    firsts = {**fingerprint.FIRST_FIELDS, "LongerAddress": fingerprint.FIRST_FIELDS["Address"]}
    monkeypatch.setattr(fingerprint, "FIRST_FIELDS", firsts)
    assert needs(LongerAddress("h", 1)) == address
    assert needs(LongerAddress("h", 1, resolver="other")) != address


@pytest.mark.parametrize("changed", ["image", "port", "args", "env", "volumes", "init", "stop_signal", "gpus"])
def test_a_field_of_the_first_release_always_counts(changed: str) -> None:
    launch = ContainerLaunch("a:1")
    others: dict[str, Any] = {"port": 1, "init": True, "stop_signal": "SIGINT", "gpus": GpuRequest("all")}
    other = replace(launch, **{changed: others.get(changed, ("x",) if changed != "image" else "a:2")})
    assert container_model(launch=other).generation != container_model(launch=launch).generation


# Rows that this version can't read.

BAD_ROWS = {
    "a definition of another version": ("models", "UPDATE models SET definition = '{\"key\": 1}'"),
    "no JSON": ("models", "UPDATE models SET definition = 'nonsense'"),
    "a definition of the wrong type": ("models", "UPDATE models SET definition = x'00ff'"),
    "a stream of an unknown origin": ("streams", "UPDATE streams SET origin = 'from-the-future'"),
    "a stream with a replica that is none": ("streams", "UPDATE streams SET replica = 'many'"),
    "a stream that began at no time": ("streams", "UPDATE streams SET began_at = 'yesterday'"),
}


@pytest.mark.parametrize(("table", "damage"), BAD_ROWS.values(), ids=list(BAD_ROWS))
async def test_a_stored_row_that_cannot_be_read_is_set_aside_with_a_line_and_never_a_refusal(
    table: str, damage: str, tmp_path: Path
) -> None:
    left = RELEASES[-1]
    copied = tmp_path / "left"
    shutil.copytree(left, copied)
    with closing(sqlite3.connect(copied / "orchd.db")) as db, db:
        db.execute(damage)
    db.close()
    machine = Machine(left)
    handles = set(machine.engine.containers)
    state = tmp_path / "state"
    state.mkdir()
    with capture_logs() as logs:
        async with daemon(machine, copied, state, "[{") as app:  # and the file has a fault on top of it
            async with asyncio.timeout(30):
                while machine.engine.count("sightings") < 3:
                    await app.part(ReconcilePart).loop.changed()
    said = [line for line in logs if line["event"] == "stored_row_unreadable"]
    assert said
    assert all(line["table"] == table and line["row"] and line["next"] for line in said)
    assert "planted" not in repr(logs)
    assert handles <= set(machine.engine.containers)


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda each: (
        st.lists(each, max_size=3)
        | st.dictionaries(st.sampled_from(["a", "pipeline", "model_id", "price", "secret", "events", "app"]), each)
    ),
    max_leaves=8,
).map(json.dumps) | st.text(max_size=5)


@given(ANY_JSON)
def test_what_was_kept_about_the_node_and_is_nonsense_is_taken_for_nothing(text: str) -> None:
    live_wire.load_kept(text)
    assert not is_key(text)
    with suppress(*UNREADABLE):
        byoc_wire.load(text)


def test_a_key_that_was_made_is_one() -> None:
    assert is_key(new_key())
