"""What `orchd logs` shows without a daemon, of a state directory that is not as one left it."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchd.cli.logs_offline import logs_without_daemon
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.runs import EndedRun
from orchd.errors import OrchdError
from orchd.runtime.kept_logs import FOLDER, KeptLogs

RUNNER = RunnerId(ModelKey("llm", "org/a"), 0, "0123456789ab")
SECRET = "hunter2-hunter2"
ASKED = {"model": "llm/org/a", "follow": False, "previous": False, "replica": None, "since": None, "tail": None}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Of a process that has told its secret; its run before is kept."""
    KeptLogs(tmp_path / FOLDER).keep(EndedRun(RUNNER, 1000.0, "it exited with code 3"), b"before")
    log = tmp_path / "logs" / f"{RUNNER.name}.log"
    log.parent.mkdir()
    log.write_text(f"it is {SECRET}.")
    return log


def store(state_dir: Path, *names: str) -> None:
    with closing(sqlite3.connect(state_dir / "orchd.db")) as db:
        db.execute("CREATE TABLE models (pipeline, model_id, definition, current, saved_at)")
        definition = json.dumps({"launch": {"kind": "process", "env": [["MY_TOKEN", SECRET]]}})
        db.executemany("INSERT INTO models VALUES ('llm', ?, ?, 1, 0)", [(name, definition) for name in names])
        db.commit()


def shown(state_dir: Path) -> tuple[bytes, str]:
    """Return what is shown of logs, and what is said."""
    news = [*logs_without_daemon(state_dir, "orchd", ASKED)]
    data = b"".join(base64.b64decode(one["data"]) for one in news if "data" in one)
    return data, "\n".join(one["note"] for one in news if "note" in one)


def test_secrets_that_the_store_knows_are_taken_out(tmp_path: Path, log: Path) -> None:
    store(tmp_path, "org/a")
    data, said = shown(tmp_path)
    assert data == b"it is ***."
    assert "is a process, which wrote this until" in said


@pytest.mark.parametrize("content", [b"", b"no database", None])
def test_a_log_whose_secrets_are_not_known_is_only_named(tmp_path: Path, log: Path, content: bytes | None) -> None:
    if content is None:
        store(tmp_path, "another")
    else:
        (tmp_path / "orchd.db").write_bytes(content)
    data, said = shown(tmp_path)
    assert data == b""
    assert "is not shown, since it may hold secrets that are not known: " in said
    assert said.endswith(f"; it is {log}")


def test_what_is_no_file_is_no_log(tmp_path: Path, log: Path) -> None:
    store(tmp_path, "org/a")
    log.with_name(f"{RUNNER.key.slug}-1-0123456789ab.log").symlink_to("nowhere")
    assert shown(tmp_path)[0] == b"it is ***."


def test_a_folder_that_cannot_be_looked_into_is_said_in_words(tmp_path: Path) -> None:
    store(tmp_path, "org/a")
    (tmp_path / FOLDER).touch()
    with pytest.raises(OrchdError, match=r"^cannot look for logs in .*: Not a directory"):
        shown(tmp_path)
