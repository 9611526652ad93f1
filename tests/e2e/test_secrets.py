"""Secrets of entries reach their runners, and nobody else: no log, page, metric, command, error or readable file."""

from __future__ import annotations

import contextlib
import json
import secrets
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import Entry, Runner, container, process

TOKEN, TOKEN_FILE, CREDENTIAL, ENV, ENV_FILE, CALLERS = (f"{n}sEcReT{secrets.token_hex(8)}" for n in range(6))
PLANTED = {
    "an inline token": TOKEN,
    "a token_file": TOKEN_FILE,
    "a file of the credentials directory": CREDENTIAL,
    "a variable named like a secret": ENV,
    "an env_file": ENV_FILE,
    "the caller's own authorization": CALLERS,
}


def assert_none_in(text: str | bytes, where: str) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    assert [what for what, secret in PLANTED.items() if secret.encode() in data] == [], f"in {where}"


def entries(**extra: Any) -> list[Entry]:
    """One entry for each way of giving a secret; each runner prints what it was given, before it listens."""
    shared = {"env_file": "registry.env", "env": {"HF_TOKEN": ENV}, **extra}
    say = {"say": [f"my token is {ENV}", f"REGISTRY_PASSWORD={ENV_FILE}"]}
    return [
        process("inline", say, token=TOKEN, **shared),
        process("file", say, token_file="token.txt", **shared),
        process("credential", say, token_file="runner-token", **shared),
    ]


@pytest.fixture
async def daemon(make: Start, tmp_path: Path) -> AsyncIterator[Daemon]:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "runner-token").write_text(f"{CREDENTIAL}\n")
    daemon = make(
        env={"CREDENTIALS_DIRECTORY": str(credentials)},
        settings={"log.level": "debug", "reconcile.failure_limit": "2", "reconcile.backoff_max_s": "0.2"},
    )
    daemon.folder.mkdir()
    (daemon.folder / "token.txt").write_text(f"{TOKEN_FILE}\n")
    (daemon.folder / "registry.env").write_text(f"# of the registry\nREGISTRY_PASSWORD={ENV_FILE}\n")
    daemon.write(*entries())
    daemon.models.chmod(0o644)
    async with daemon:
        yield daemon
    assert_none_in(daemon.log_text(), "the log, at its end")


async def everything_said(daemon: Daemon) -> None:
    """Look at all that orchd shows."""
    assert_none_in(daemon.log_text(), "the log")
    for path in ("/", "/healthz", "/readyz", "/status", "/metrics"):
        async with daemon.client.get(f"http://127.0.0.1:{daemon.admin_port}{path}") as page:
            assert_none_in(await page.read(), path)
    for words, flags in (
        (("status",), "admin.listen"),
        (("status", (await daemon.status())["models"][0]["model_id"]), "admin.listen"),
        (("check",), "models_file"),
        (("check", "--json", "--strict"), "models_file"),
    ):
        _, said = await daemon.command(*words, *daemon.flags(flags))
        assert_none_in(said, f"orchd {' '.join(words)}")


async def given(daemon: Daemon, model_id: str) -> tuple[dict[str, str], list[str]]:
    """Return a runner's environment, and the Authorization headers of the job that it got last."""
    headers = {"X-Model-Id": model_id, "Authorization": f"Bearer {CALLERS}", "Livepeer-Payment": CALLERS}
    async with daemon.client.post(f"{daemon.url}/text-to-image", headers=headers) as answer:
        assert answer.status == 200
        seen = (await answer.json())["headers"]
    assert CALLERS not in json.dumps(seen)
    about = await Runner((await daemon.model(model_id))["runners"][0]["address"], daemon.client).about()
    return about["env"], [value for name, value in seen if name.lower() == "authorization"]


async def test_runners_get_them_and_nobody_else(daemon: Daemon) -> None:
    for name, token in {"inline": TOKEN, "file": TOKEN_FILE, "credential": CREDENTIAL}.items():
        await daemon.until_state(name, "ready")
        env, authorization = await given(daemon, name)
        assert authorization == [f"Bearer {token}"]
        assert (env["HF_TOKEN"], env["REGISTRY_PASSWORD"]) == (ENV, ENV_FILE)
        assert "CREDENTIALS_DIRECTORY" not in env
    await everything_said(daemon)
    [warning] = [p for p in (await daemon.status())["problems"] if p["field"] == "token"]
    assert "others on this host can read the token" in warning["text"]


async def test_a_runner_that_fails_shows_its_last_words_without_them(daemon: Daemon) -> None:
    """Its log lines are shown to help, but what we gave it is taken out of them, and of what its health says."""
    broken = [
        "/bin/sh",
        "-c",
        'echo "cannot log in with $HF_TOKEN and $REGISTRY_PASSWORD"; echo "Authorization: Bearer $HF_TOKEN"; exit 1',
    ]
    daemon.write(*[{**entry, "command": broken} for entry in entries()])
    for name in ("inline", "file", "credential"):
        await daemon.until_state(name, "failed")
    [runner] = (await daemon.model("inline"))["runners"]
    assert runner["last_log"] == ["cannot log in with *** and ***", "Authorization: Bearer ***"]
    await everything_said(daemon)
    for name in ("inline", "file", "credential"):
        _, body, headers = await daemon.job(name)
        assert_none_in(body + str(dict(headers)).encode(), "the answer of a job")


async def test_health_that_tells_them_is_scrubbed(daemon: Daemon) -> None:
    words = {"health_code": 500, "health_body": f"bad token {TOKEN}, bad key {ENV}"}
    daemon.write(
        process("m", words, token=TOKEN, env={"HF_TOKEN": ENV, "SCRIPT": json.dumps(words)}, start_timeout_s=60)
    )
    model = await daemon.until_model("m", "shows its health", lambda m: "bad token" in m.get("reason", ""))
    assert "500 bad token ***, bad key ***" in model["reason"]
    status, body, _ = await daemon.job("m")
    assert status == 503
    assert_none_in(body, "the answer of a job")
    await everything_said(daemon)


async def test_entries_that_are_wrong_are_told_without_them(daemon: Daemon) -> None:
    """Neither the value of a field that is wrong, nor the content of a file that can't be used, is repeated."""
    await daemon.until_state("inline", "ready")
    (daemon.folder / "bad.env").write_text(f"{ENV_FILE}\n")
    (daemon.folder / "bad.token").write_text(f"{TOKEN_FILE} two words\n{TOKEN_FILE}")
    daemon.write(
        process("a", token=[TOKEN]),
        process("b", token=TOKEN, token_file=TOKEN_FILE),
        process("c", env={"HF_TOKEN": [ENV]}),
        process("d", env_file="bad.env"),
        process("e", token_file="bad.token"),
        process("f", token_file="/nowhere/token.txt"),  # What is plainly a path is named.
        process("g", tokn=TOKEN, hf_token=ENV),
        process("h", command=[TOKEN, {"x": ENV}]),
        process("i", token=f"{TOKEN}\n"),
    )
    await daemon.until("the file was read", lambda: _has_problems(daemon))
    await everything_said(daemon)
    daemon.models.write_text(f'[{{"pipeline": "p", "model_id": "m", "token": "{TOKEN}')
    await daemon.until("the torn file was read", lambda: _refused(daemon))
    await everything_said(daemon)
    daemon.models.write_text(f'[{{"pipeline": "p", "model_id": "m", "token": "{TOKEN}" "{ENV}"}}]')
    await daemon.until("the malformed file was read", lambda: len(daemon.events("models_file_refused")) >= 2)
    await everything_said(daemon)


async def _has_problems(daemon: Daemon) -> bool:
    keys = {p["model_id"] for p in (await daemon.status())["problems"] if p["severity"] == "error"}
    return keys >= set("abcdefhi")


async def _refused(daemon: Daemon) -> bool:
    return not (await daemon.status())["file"]["ok"]


async def test_what_is_on_the_disk_is_for_its_owner_alone(daemon: Daemon) -> None:
    """The store holds definitions, secrets and all: nobody else may read it, its journal, the logs or the socket."""
    await daemon.until_state("inline", "ready")
    found = [daemon.state, *daemon.state.rglob("*")]
    assert {"orchd.db", "lock", "control.sock", "logs"} <= {path.name for path in found}
    for path in found:
        with contextlib.suppress(FileNotFoundError):  # A draft that has become the file.
            about = path.stat()
            mode = stat.S_IMODE(about.st_mode)
            assert mode == (0o700 if stat.S_ISDIR(about.st_mode) else 0o600), f"{path} has {mode:o}"


@pytest.mark.docker
async def test_containers_get_them_and_the_engine_is_told_nothing_more(docked: Start, instance: str, api: Any) -> None:
    """A container's environment must hold its variables; labels, name and arguments must not, nor the token."""
    async with docked(settings={"log.level": "debug"}) as daemon:
        daemon.write(container("m", token=TOKEN, env={"HF_TOKEN": ENV}))
        model = await daemon.until_state("m", "ready")
        env, authorization = await given(daemon, "m")
        assert (env["HF_TOKEN"], authorization) == (ENV, [f"Bearer {TOKEN}"])
        inspected = api.inspect_container(model["runners"][0]["handle"])
        assert f"HF_TOKEN={ENV}" in inspected["Config"].pop("Env")
        assert_none_in(json.dumps(inspected), "docker inspect")
        await everything_said(daemon)
