"""Each registry's folder can be deleted: nothing else breaks but its own tests.

A copy of the tree loses the folder, every module of what is left is imported, the daemon is built, and those unit tests
run that could notice.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchd.advertise import registries

TREE = Path(__file__).parents[2]
NEEDED = ("orchd", "tests", "config", "docs", "pyproject.toml", "README.md")
COULD_NOTICE = (
    *("tests/advertise", "tests/node/test_answers.py", "tests/test_settings.py"),
    *("tests/test_metrics.py::TestBesideANode", "tests/test_status_view.py"),
)
TOO_LONG = (
    "test_registry",
    "test_plan_machine",
    "test_dynamic",
    "test_static",
    "test_pace",
    "test_token_probe",
    "test_trial",
    "test_free_slots",
    "test_livepeer_node",
    "test_session_news",
    "test_exported",
    "test_*prices",
)
"""Long tests, most of them against a whole node: they run by themselves."""

COPIED = '''"""All that is left of orchd can be imported, and a daemon beside a node can be built."""

import pkgutil
from importlib import import_module
from pathlib import Path

import orchd
from orchd.advertise import registries
from orchd.app import App
from orchd.settings.tree import Settings


def test_it_is_the_copy_without_the_registry() -> None:
    assert Path(orchd.__file__).is_relative_to(Path.cwd())
    assert "{name}" not in registries.names()


def test_every_module_can_be_imported() -> None:
    found = [module.name for module in pkgutil.walk_packages(orchd.__path__, "orchd.")]
    assert len(found) > 100
    for name in found:
        if not name.endswith("__main__"):
            import_module(name)


def test_a_daemon_beside_a_node_can_be_built(tmp_path: Path) -> None:
    node = {{"service_url": "https://127.0.0.1:9"}}
    App(Settings.model_validate({{"state_dir": str(tmp_path), "orchestrator": node}}), {{}})
'''


@pytest.mark.slow
@pytest.mark.parametrize("name", registries.names())
def test_nothing_breaks_without_its_folder(name: str, tmp_path: Path) -> None:
    folder = name.replace("-", "_")
    for each in NEEDED:
        copy = shutil.copytree if (TREE / each).is_dir() else shutil.copy
        copy(TREE / each, tmp_path / each)
    for parent in ("orchd", "tests"):
        shutil.rmtree(tmp_path / parent / "advertise" / folder)
    shutil.rmtree(tmp_path / "tests" / "advertise" / "together")
    (tmp_path / "tests" / "advertise" / Path(__file__).name).unlink()
    (tmp_path / "tests" / "advertise" / "test_copied.py").write_text(COPIED.format(name=name))
    ignored = [f"--ignore-glob=*/{each}.py" for each in TOO_LONG]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *ignored, *COULD_NOTICE],
        cwd=tmp_path,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
