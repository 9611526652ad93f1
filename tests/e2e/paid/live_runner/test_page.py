"""`docs/how-to/orchestrator.md` is followed as it stands, from a keystore to paid jobs; only ports differ."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import sys
import tomllib
from pathlib import Path

from orchd.settings.tree import Settings
from tests.e2e.daemon import PATIENCE_S, ROOT, kill_processes
from tests.e2e.environments import CHAIN, SDK
from tests.e2e.realtime import need
from tests.ports import free_port

PAGE = (ROOT / "docs" / "how-to" / "orchestrator.md").read_text()
PORTS = ("8545", "8937", "8443")
SDK_PYTHON = "/var/cache/orchd-test/livepeer-gateway/bin/python"


def blocks(language: str, heading: str) -> list[str]:
    """Return the blocks of code below a heading."""
    _, _, below = PAGE.partition(f"\n## {heading}\n")
    section = below.partition("\n## ")[0]
    return re.findall(rf"^ *```{language}\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)


async def test_a_newcomer_gets_from_a_keystore_to_paid_jobs(tmp_path: Path) -> None:
    need(SDK)
    need(CHAIN)
    for name in ("tests", "orchd"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    makes, *follows = blocks("bash", "Try it on this machine")
    assert f"tests.e2e.environments {SDK.name} {CHAIN.name}" in makes
    script = "set -euo pipefail\n" + "".join(follows)
    for there, here in {**{port: str(free_port()) for port in PORTS}, SDK_PYTHON: str(SDK.python)}.items():
        assert there in script, f"the page no longer says {there}"
        script = script.replace(there, here)
    script = script.replace("tests.doubles.practice", f"tests.doubles.practice{_moved(script)}")
    instance = f"t-page-{secrets.token_hex(4)}"
    listens = {f"ORCHD_{name}_LISTEN": f"127.0.0.1:{free_port()}" for name in ("JOBS", "ADMIN", "PUBLIC_RUNNER")}
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", script),
        cwd=tmp_path,
        env={**os.environ, **listens, "ORCHD_INSTANCE": instance},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        async with asyncio.timeout(2 * PATIENCE_S):
            printed = (await shell.communicate())[0].decode()
    finally:
        if shell.returncode is None:
            os.killpg(shell.pid, 9)
        kill_processes(instance)
    assert shell.returncode == 0, printed
    assert "\nHELLO\nSTILL HERE\nTWO CENTS\n" in printed, printed
    assert "text/acme/shout" in printed


def _moved(script: str) -> str:
    """Return the flags with which the chain and the signer listen where the script looks for them."""
    [rpc] = re.findall(r"127\.0\.0\.1:(\d+)/v2/", script)
    [signer] = re.findall(r'"http://(127\.0\.0\.1:\d+)"', script)
    return f" --rpc-port {rpc} --signer {signer}"


def test_its_settings_are_taken() -> None:
    [shown] = blocks("toml", "Switch it on")
    settings = Settings.model_validate(tomllib.loads(shown))
    assert settings.public.doors == ("live-runner",)
    assert settings.takes_tickets
