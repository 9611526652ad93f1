"""The hook of docs/how-to/own-hook.md, through the daemon: its file and the page's settings are what runs here."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import aiohttp

from orchd.tasks import spawn
from tests.e2e.daemon import ROOT, Daemon
from tests.runners.local import LocalRunner, scripted

PAGE = (ROOT / "docs" / "how-to" / "own-hook.md").read_text()


def block(language: str) -> str:
    """Return the only block of the page in this language."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def installed(folder: Path, **options: Any) -> Path:
    """Put the hook and its settings where the page says, below `folder`; return the settings file."""
    hooks = folder / "hooks"
    hooks.mkdir(exist_ok=True)
    shutil.copy(ROOT / "config" / "hooks" / "credit.py", hooks)
    settings = block("toml").replace("/etc/orchd/hooks", str(hooks))
    file = folder / "orchd.toml"
    file.write_text(settings + "".join(f"{name} = {json.dumps(value)}\n" for name, value in options.items()))
    return file


@asynccontextmanager
async def selling(folder: Path, **options: Any) -> AsyncIterator[tuple[Daemon, LocalRunner]]:
    """Run orchd with the hook before a model that is ready."""
    async with scripted() as runner:
        daemon = Daemon(folder, "t-own-hook", settings={"config": str(installed(folder, **options))})
        entry = {"pipeline": "text-to-image", "model_id": "m", "url": runner.url, "maxSessions": 4}
        daemon.write(entry)
        async with daemon:
            await daemon.until_state("m", "ready")
            yield daemon, runner


async def ask(daemon: Daemon, account: str = "ann", do: str = "/echo") -> tuple[int, Any, dict[str, str]]:
    headers = {"X-Model-Id": "m", "X-Do": do} | ({"X-Account": account} if account else {})
    async with daemon.client.post(f"{daemon.url}/text-to-image", data=b"{}", headers=headers) as answer:
        body = await answer.read()
        return answer.status, body if answer.status < 400 else json.loads(body), dict(answer.headers)


def balances(daemon: Daemon) -> dict[str, int]:
    with closing(sqlite3.connect(daemon.state / "orchd.db")) as db:
        return dict(db.execute("SELECT account, credits FROM credit_balances").fetchall())


async def test_the_hook_of_the_page_sells_jobs_and_refuses_who_has_not_paid(tmp_path: Path) -> None:
    async with selling(tmp_path, report_s=0.1) as (daemon, _):
        assert (await daemon.status())["hooks"] == ["credit"], "without a node, its tokens are not asked for"
        assert [(await ask(daemon))[0] for _ in range(2)] == [200, 200]
        status, body, headers = await ask(daemon)
        assert status == 402
        assert body == {"error": "too_little_credit", "price": 5, "top_up": "https://example.org/credit"}
        assert (headers["X-Credit-Price"], headers["Livepeer-Error"]) == ("5", "payment_required")
        assert balances(daemon) == {"ann": 2}
        status, body, _ = await ask(daemon, account="")
        assert (status, body["error"]) == (400, "hook_refused")
        assert (await ask(daemon, account="bob"))[0] == 200
        assert await daemon.metric("orchd_job_errors_total", code="payment_required") == 1
        await daemon.until("its root task reports", lambda: daemon.events("credit_balances"))
        assert daemon.events("credit_balances")[0]["hook"] == "credit"
        assert (await check(daemon, tmp_path / "orchd.toml"))[0] == 0

        # What a failed job has cost is given back, and balances outlive a restart.
        assert (await ask(daemon, "eve", do="/status/500"))[0] == 500
        await daemon.until("it is given back", lambda: balances(daemon)["eve"] == 12)
        assert await daemon.end() == 0
        await daemon.start()
        await daemon.until_state("m", "ready")
        assert (await ask(daemon, "bob"))[0] == 200
        assert balances(daemon) == {"ann": 2, "bob": 2, "eve": 12}


async def test_wrong_options_keep_the_daemon_from_starting_and_check_finds_them(tmp_path: Path) -> None:
    file = installed(tmp_path, prize=3)
    said = f"cannot use unknown option hooks.credit.prize ({file}:9) (did you mean price?)"
    daemon = Daemon(tmp_path, "t-own-hook", settings={"config": str(file)})
    await daemon.start(wait=False)
    assert daemon.process is not None
    async with asyncio.timeout(60):
        assert await daemon.process.wait() != 0
    assert said in daemon.log_text()
    code, told = await check(daemon, file)
    assert code == 1
    assert said in " ".join(told.split())


async def check(daemon: Daemon, file: Path) -> tuple[int, str]:
    if not daemon.models.exists():
        daemon.write()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orchd", "check", str(daemon.models), "--config", str(file)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=ROOT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_what_a_job_took_that_died_with_orchd_is_given_back_at_the_next_start(tmp_path: Path) -> None:
    async with selling(tmp_path) as (daemon, _):
        asking = spawn(ask(daemon, "ann", do="/hang"), name="a job that does not end")
        await daemon.until("it is taken", lambda: balances(daemon) == {"ann": 7})
        await daemon.until("the account is kept", lambda: left(daemon) == [True])
        await daemon.kill()
        with suppress(aiohttp.ClientError):
            await asking
        await daemon.start()
        await daemon.until("it is given back", lambda: balances(daemon) == {"ann": 12})
        await daemon.until("no account is left", lambda: left(daemon) == [])
        assert await daemon.end() == 0
        await daemon.start()
        await daemon.until_state("m", "ready")
        assert balances(daemon) == {"ann": 12}, "once"


def left(daemon: Daemon) -> list[bool]:
    """Return whether each job was admitted whose account is still open."""
    with closing(sqlite3.connect(daemon.state / "orchd.db")) as db:
        return [json.loads(text)["admitted"] for (text,) in db.execute("SELECT account FROM open_accounts").fetchall()]
