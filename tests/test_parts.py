"""The list of parts: it is the one that app.py makes, and what is switched off costs nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchd import parts
from orchd.app import App
from orchd.settings.tree import SETTINGS, Settings

OPTIONAL = {"orchd.runtime.docker"}
"""Folders inside a part that are switched off by themselves (`docker.enabled`)."""
CHEAP = {"settings", "status"}
"""The faces of a part that may be imported while it is switched off."""

MAIN = """
import sys
from orchd.cli import main

code = main(sys.argv[1:])
print(*sys.modules)
sys.exit(code)
"""


async def test_the_parts_are_those_that_app_makes_in_start_order(tmp_path: Path) -> None:
    on = {
        "orchestrator": {"service_url": "https://127.0.0.1:9", "eth_usd": "3000"},
        "chain": {"id": 42161},
        "hooks": {"order": ["node-token", "tickets"]},
        "public": {"listen": "127.0.0.1:0"},
    }
    settings = Settings.model_validate({"state_dir": str(tmp_path), **on})
    public = settings.public.model_copy(update={"doors": ("live-runner",)})
    settings = settings.model_copy(update={"public": public})
    made = App(settings, {})._parts
    assert [part.name for part in made] == [entry.name for entry in parts.PARTS]
    for part, entry in zip(made, parts.PARTS, strict=True):
        module = type(part).__module__
        assert module in (entry.package, f"{entry.package}.part"), part.name


def test_every_switch_is_a_setting() -> None:
    assert {entry.switch for entry in parts.PARTS if entry.switch} <= SETTINGS.keys()


def test_each_face_is_found_once_in_start_order() -> None:
    found = [module.__name__ for module in parts.faces("settings")]
    assert found == sorted(set(found), key=[f"{entry.package}.settings" for entry in parts.PARTS].index)
    assert {"orchd.jobs.settings", "orchd.admin.settings"} <= set(found)


@contextmanager
def orchd_run(folder: Path, *flags: str) -> Iterator[subprocess.Popen[str]]:
    """`orchd run` as a process that prints what it has imported when it has ended."""
    (folder / "aiModels.json").write_text("[]")
    places = ["--models-file", str(folder / "aiModels.json"), "--state-dir", str(folder / "state")]
    listen = ["--jobs-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("ORCHD_")}
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "run", *places, *listen, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env | {"ORCHD_CONFIG": os.devnull, "DOCKER_HOST": "tcp://127.0.0.1:9"},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def imported(folder: Path, *flags: str) -> set[str]:
    """Return the modules that a daemon has imported from its start to its end."""
    with orchd_run(folder, *flags) as process:
        assert process.stderr is not None
        assert any("orchd_ready" in line for line in process.stderr), "it has not started"
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    return set(said.split())


def test_what_is_switched_off_is_not_imported(tmp_path: Path) -> None:
    found = imported(tmp_path, "--docker-enabled", "false")
    assert "orchd.jobs.server" in found, "this test sees what is imported"
    packages = {entry.package for entry in parts.PARTS if entry.switch} | OPTIONAL
    # Who makes the hooks of orchd's own knows what each of them needs.
    cheap = packages | {f"{package}.{face}" for package in packages for face in CHEAP} | {"orchd.tickets.built_in"}
    for package in packages:
        assert {name for name in found if name.startswith(f"{package}.")} <= cheap
    assert "orchd.tickets.node_token" not in found, "there is no node whose token a hook could check"
    foreign = {name.partition(".")[0] for name in found}
    assert not foreign & {"docker", "pynvml", "requests", "eth_keys", "eth_hash", "coincurve", "web3", "Crypto"}


def test_the_chain_is_read_without_the_libraries_that_others_read_it_with(tmp_path: Path) -> None:
    (tmp_path / "rpc").write_text("http://127.0.0.1:9/k3y\n")
    node = ("--orchestrator-service-url", "https://127.0.0.1:9", "--orchestrator-eth-usd", "feed")
    chain = ("--chain-id", "42161", "--chain-orchestrator", "0x" + "1" * 40)
    url = ("--chain-rpc-url-file", str(tmp_path / "rpc"))
    found = imported(tmp_path, "--docker-enabled", "false", *node, *chain, *url)
    assert {"orchd.chain.rpc_chain", "orchd.rate.source"} <= found
    assert not {name.partition(".")[0] for name in found} & {"web3", "eth_abi", "eth_account", "eth_utils", "requests"}


def test_the_file_of_urls_alone_switches_nothing_on(tmp_path: Path) -> None:
    found = imported(tmp_path, "--docker-enabled", "false", "--chain-rpc-url-file", "/there/is/none")
    assert not [name for name in found if name.startswith("orchd.rpc.")]


def test_what_is_switched_on_is_imported(tmp_path: Path) -> None:
    """So that the test above can fail."""
    node = ("--orchestrator-service-url", "https://127.0.0.1:9")
    found = imported(tmp_path, "--docker-enabled", "true", *node)
    assert {"docker", "orchd.node.client", "orchd.advertise.part", "orchd.tickets.node_token"} <= found
