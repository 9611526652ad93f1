"""What `orchd check` says of hooks, and of settings with which the daemon would not start."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchd.cli import main
from orchd.hooks.settings import WITH_OPTIONS
from orchd.tickets.built_in import type_of

URL = 'url = "https://policy.example.org/job"\n'
PAYS = '"mine=paying:Pays"'
OWN_HOOK = "from orchd.hooks.api import JobHook\n\n\nclass Pays(JobHook):\n    takes_payment = True\n"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ORCHD_STATE_DIR", str(tmp_path / "state"))
    for name in ("CREDENTIALS_DIRECTORY", "ORCHD_MODELS_FILE", "ORCHD_CONFIG"):
        monkeypatch.delenv(name, raising=False)


def check(folder: Path, settings: str, capsys: pytest.CaptureFixture[str], *flags: str) -> tuple[int, str]:
    """Return the exit code and what is said of these settings beside an empty models file."""
    models, config = folder / "aiModels.json", folder / "orchd.toml"
    models.write_text("[]")
    config.write_text(settings)
    code = main(["check", "--config", str(config), str(models), *flags])
    return code, capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('order = ["webhook"]\n', "cannot use hooks.webhook.url: Field required"),
        (f'order = ["webhook"]\n[hooks.webhook]\n{URL}bogus = 1\n', "cannot use unknown option hooks.webhook.bogus"),
        ('order = ["limits"]\n[hooks.limits]\nsessions = -1\n', "cannot use hooks.limits.sessions"),
        ('order = ["signed-job"]\n[hooks.signed-job]\nallow = ["me"]\n', "cannot use hooks.signed-job.allow"),
        ('order = ["tickets"]\n[hooks.tickets]\nx = 1\n', "tickets comes with orchd and has no options"),
        (f'order = ["tickets", {PAYS}]\npath = ["."]\n', "tickets and mine take payment"),
    ],
)
def test_hooks_with_which_the_daemon_does_not_start_are_errors(
    settings: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "paying.py").write_text(OWN_HOOK)
    code, out = check(tmp_path, f"[hooks]\n{settings}", capsys)
    assert code == 1
    assert said in out


def test_options_that_are_fine_are_not_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = tmp_path / "allowed"
    lists.write_text("")
    settings = (
        f'[hooks]\norder = ["webhook", "limits", "signed-job"]\n[hooks.webhook]\n{URL}'
        f'[hooks.limits]\nsessions = 2\n[hooks.signed-job]\nallow_file = "{lists}"\n'
    )
    code, out = check(tmp_path, settings, capsys)
    assert (code, out) == (0, "0 models, 0 errors, 0 warnings\n")


def test_files_that_hooks_need_and_that_are_not_there_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = (
        f'[hooks]\norder = ["webhook", "signed-job", "tickets"]\n[hooks.webhook]\n{URL}secret_file = "/gone/secret"\n'
        '[hooks.signed-job]\ndeny_file = "/gone/denied"\n[tickets]\nkey_file = "/gone/key"\n'
    )
    _, out = check(tmp_path, settings, capsys)
    for name in ("hooks.webhook.secret_file", "hooks.signed-job.deny_file", "tickets.key_file"):
        assert f"setting {name} = /gone/" in out


def test_files_with_nothing_of_use_in_them_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    settings = (
        f'[hooks]\norder = ["webhook", "tickets"]\n[hooks.webhook]\n{URL}secret_file = "{empty}"\n[tickets]\n'
        f'key_file = "{empty}"\n[orchestrator]\nservice_url = "http://127.0.0.1:8935"\nsecret_file = "{empty}"\n'
        f'[chain]\nid = 42161\norchestrator = "0x{"ab" * 20}"\nrpc_url_file = "{empty}"\n'
    )
    _, out = check(tmp_path, settings, capsys)
    for name in ("hooks.webhook.secret_file", "tickets.key_file", "orchestrator.secret_file", "chain.rpc_url_file"):
        assert f"setting {name} = cannot use the content of {empty}" in out, out


def test_every_file_of_an_option_is_looked_for() -> None:
    """So that `hook_files` finds them by their names."""
    for name in WITH_OPTIONS:
        fields = type_of(name).Options.model_fields.items()
        files = {option for option, field in fields if (field.description or "").startswith("File ")}
        assert files == {option for option, _ in fields if option.endswith("_file")}


def test_settings_that_miss_one_another_are_errors_for_people_and_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = '[hooks]\norder = ["tickets"]\n[chain]\nid = 42161\n[public]\nlisten = "127.0.0.1:0"\ndoors = ["byoc"]\n'
    code, out = check(tmp_path, settings, capsys)
    assert code == 1
    refused = ("chain.rpc_url_file", "chain.orchestrator", "public.doors")
    for name in refused:
        assert f"error    setting {name} = " in out
    _, out = check(tmp_path, settings, capsys, "--json")
    told = json.loads(out)
    assert not told["ok"]
    assert [each["setting"] for each in told["settings"] if each["severity"] == "error"] == list(refused)
