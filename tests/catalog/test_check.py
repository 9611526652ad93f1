"""`orchd check` and `orchd schema`, as a person or a script calls them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orchd.catalog.tables import ModelTable
from orchd.cli import main
from orchd.database.database import Database
from orchd.domain.offer import NodeProgram
from orchd.node.tables import PROGRAM_NAME, SecretTable
from tests.catalog.helpers import entry, model_of, read

SECRET = "hunter2-do-not-show"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORCHD_STATE_DIR", str(tmp_path / "state"))
    for name in ("CREDENTIALS_DIRECTORY", "ORCHD_MODELS_FILE", "ORCHD_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def write(path: Path, *entries: Any) -> str:
    path.write_text("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]")
    path.chmod(0o600)
    return str(path)


def test_a_good_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gateway = entry(gateway="0x" + "1" * 40)
    assert main(["check", write(tmp_path / "f.json", entry(maxSessions=2), gateway)]) == 0
    *_, head, row, blank, summary = capsys.readouterr().out.splitlines()
    assert head.split() == ["MODEL", "KIND", "PROFILE", "SESSIONS", "REPLICAS", "START", "PRICE"]
    cells = [
        "llm/acme/small",
        "container",
        "byoc",
        "2",
        "1",
        "cold",
        *["1", "wei", "per", "second", "(+1", "for", "gateways)"],
    ]
    assert row.split() == cells
    assert (blank, summary) == ("", "1 model, 0 errors, 0 warnings")


def test_errors_are_lines_with_their_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "f.json", entry(model_id="good"), entry(replicas=0, token=f"{SECRET} x"))
    assert main(["check", file]) == 1
    out = capsys.readouterr().out
    assert f"error    {file}:3: entry 2 (llm/acme/small) field replicas: cannot use 0: it should be" in out
    assert "llm/good " in out
    assert "1 model, 2 errors, 0 warnings" in out
    assert SECRET not in out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[{", "expected a key"),
        ("", "an empty file"),
        (None, "No such file or directory; make it, or name another one by the setting models_file"),
    ],
)
def test_a_file_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, said: str
) -> None:
    path = tmp_path / "f.json"
    if text is not None:
        path.write_text(text)
    assert main(["check", str(path)]) == 1
    assert said in capsys.readouterr().out


def test_unknown_keys_are_errors_only_if_strict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "f.json", entry(maxSesions=1))
    assert main(["check", file]) == 0
    assert "warning  " in capsys.readouterr().out
    assert main(["check", "--strict", file]) == 1
    assert "error    " in capsys.readouterr().out


def test_unknown_keys_are_errors_where_the_settings_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHD_STRICT_FILE", "true")
    assert main(["check", write(tmp_path / "f.json", entry(maxSesions=1))]) == 1
    assert "0 models, 1 error, 0 warnings" in capsys.readouterr().out


@pytest.mark.parametrize("slip", ["imgae", "comand", "ulr"])
def test_a_slip_that_would_run_nothing_fails(tmp_path: Path, slip: str) -> None:
    assert main(["check", write(tmp_path / "f.json", entry(image=..., **{slip: "x"}))]) == 1


@pytest.mark.parametrize("daemon_runs", [False, True])
async def test_what_a_slip_would_take_from_a_model_that_runs_here_fails(tmp_path: Path, daemon_runs: bool) -> None:
    state = tmp_path / "state"
    state.mkdir()
    database = Database(state / "orchd.db")
    await database.open()
    await ModelTable(database).save_models((model_of(read(entry(warm=True))),))
    if not daemon_runs:
        await database.close()
    before = sorted(state.iterdir())
    for slipped, code in ((entry(wram=True), 1), (entry(image=...), 1), (entry(warm=True, wram=True), 0)):
        assert main(["check", write(tmp_path / "f.json", slipped)]) == code
    assert sorted(state.iterdir()) == before
    if daemon_runs:
        await database.close()
    assert main(["check", "--state-dir", str(tmp_path / "none"), write(tmp_path / "f.json", entry(wram=True))]) == 0


def test_a_store_that_cannot_be_read_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "orchd.db").write_text("nonsense")
    assert main(["check", write(tmp_path / "f.json", entry(wram=True))]) == 0


def test_json_for_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "f.json", entry(price_per_unit=0.005, token=SECRET), entry(model_id="b", replicas=0))
    assert main(["check", "--json", file]) == 1
    out = capsys.readouterr().out
    assert SECRET not in out
    report = json.loads(out)
    assert (report["file"], report["ok"]) == (file, False)
    [problem] = report["problems"]
    assert (problem["severity"], problem["code"], problem["line"]) == ("error", "entry_invalid", 3)
    assert (problem["model_id"], problem["field"], problem["entry"]) == ("b", "replicas", 1)
    assert report["models"] == [
        {
            "pipeline": "llm",
            "model_id": "acme/small",
            "kind": "container",
            "profile": "byoc",
            "max_sessions": 1,
            "replicas": 1,
            "warm": False,
            "price": {"per_unit": "1/200", "pixels_per_unit": 1, "currency": "wei", "unit": "second"},
            "gateway_prices": {},
        }
    ]


def test_the_file_is_that_of_the_settings_unless_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ORCHD_MODELS_FILE", write(tmp_path / "other.json", entry(model_id="other")))
    assert main(["check"]) == 0
    assert "llm/other" in capsys.readouterr().out
    assert main(["check", write(tmp_path / "named.json", entry(model_id="named"))]) == 0
    assert "llm/named" in capsys.readouterr().out


def test_tokens_are_found_among_the_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "t").write_text("s3cret")
    file = write(tmp_path / "f.json", entry(token_file="t"))
    assert main(["check", file]) == 1
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert main(["check", file]) == 0


def test_nothing_in_the_file_can_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["check", write(tmp_path / "f.json", entry(**{"\x1b[31mx": 1}))])
    assert "\x1b" not in capsys.readouterr().out


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["items"] == {"$ref": "#/$defs/Entry"}


def test_a_secret_that_is_not_there_keeps_orchd_from_starting_and_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "orch-secret"
    monkeypatch.setenv("ORCHD_ORCHESTRATOR_SERVICE_URL", "https://127.0.0.1:8935")
    monkeypatch.setenv("ORCHD_ORCHESTRATOR_SECRET_FILE", str(secret))
    file = write(tmp_path / "f.json", entry())
    assert main(["check", file]) == 0
    out = capsys.readouterr().out
    assert f"setting orchestrator.secret_file = {secret}: there is no such file" in out
    assert "1 model, 0 errors, 1 warning" in out
    secret.write_text(SECRET)
    assert main(["check", file]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    monkeypatch.setenv("ORCHD_ORCHESTRATOR_SECRET_FILE", "one-of-systemds-credentials")
    assert main(["check", file]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("program", "text", "warned"),
    [
        (None, f"{SECRET}\n", True),
        (NodeProgram.LIVEPEER_NODE, f"{SECRET} ", True),
        (NodeProgram.LIVEPEER_NODE, SECRET, False),
        (NodeProgram.GO_LIVEPEER, f"{SECRET}\n", False),
    ],
)
async def test_a_secret_that_livepeer_node_can_not_use_is_warned_of_unless_go_livepeer_was_seen_last(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    program: NodeProgram | None,
    text: str,
    warned: bool,
) -> None:
    (tmp_path / "state").mkdir()
    database = Database(tmp_path / "state" / "orchd.db")
    await database.open()
    if program:
        await SecretTable(database).save_secret(PROGRAM_NAME, program)
    await database.close()
    secret = tmp_path / "orch-secret"
    secret.write_text(text)
    monkeypatch.setenv("ORCHD_ORCHESTRATOR_SERVICE_URL", "127.0.0.1:8935")
    monkeypatch.setenv("ORCHD_ORCHESTRATOR_SECRET_FILE", str(secret))
    monkeypatch.setenv("ORCHD_ORCHESTRATOR_ETH_USD", "3000")
    assert main(["check", write(tmp_path / "f.json", entry(warm=True))]) == 0
    out = capsys.readouterr().out
    assert ("a Livepeer Node that reads this file knows no secret" in out) == warned
    assert f"0 errors, {int(warned)} warning" in out
    assert SECRET not in out


def test_what_can_not_be_offered_together_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "f.json", entry(model_id="a", capability="c"), entry(model_id="b", capability="c"))
    assert main(["check", file]) == 0
    out = capsys.readouterr().out
    assert "warning  llm/a, llm/b have the same capability name 'c'" in out
    assert out.endswith("2 models, 0 errors, 1 warning\n")
    main(["check", file, "--json"])
    assert len(json.loads(capsys.readouterr().out)["offers"]) == 1
