"""`make` prepares its environment one at a time, and names what is really in its way. Its Python is a script here."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Answers what the script asks of a Python: its version, whether it has venv, to make one, and that one's pip.
# $FAKE_INSIDE is there while somebody installs; nobody else may then.
PYTHON = """\
#!/bin/sh
here=$(dirname "$0")
case "$*" in
*"%d.%d"*) echo "$FAKE_VERSION" ;;
*"sys.exit(sys.version_info"*) [ "$FAKE_VERSION" != 3.10 ] ;;
*ensurepip*) [ -z "${FAKE_NO_VENV-}" ] ;;
*"-m venv"*)
  [ -z "${FAKE_VENV_FAILS-}" ] || { echo "no space left" >&2; exit 1; }
  mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo venv >> "$FAKE_LOG" ;;
*"pip --version"*) ;;
*"pip install"*)
  mkdir "$FAKE_INSIDE" || { echo "two at once" >> "$FAKE_LOG"; exit 1; }
  echo "pip ${*##* }" >> "$FAKE_LOG"; sleep 0.2; rmdir "$FAKE_INSIDE" ;;
esac
"""


class Clone:
    """A clone of which only the parts that matter are there."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder / "clone", folder / "log"
        (self.folder / "tools").mkdir(parents=True)
        for name in ("Makefile", "tools/venv.sh", "requirements.lock", "requirements-dev.lock", "pyproject.toml"):
            shutil.copy(ROOT / name, self.folder / name)
        self.python = folder / "fake-python"
        self.python.write_text(PYTHON)
        self.python.chmod(0o755)
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
            "FAKE_VERSION": "3.11",
            "FAKE_LOG": str(self.log),
            "FAKE_INSIDE": str(folder / "inside"),
        }

    def start(self, target: str = ".venv/.run", **env: str) -> subprocess.Popen[str]:
        words = ["make", "-s", f"PYTHON={self.python}", target]
        return subprocess.Popen(
            words, cwd=self.folder, env={**self.env, **env}, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def make(self, target: str = ".venv/.run", **env: str) -> tuple[int, str]:
        process = self.start(target, **env)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    @property
    def done(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_several_at_once_install_once(clone: Clone) -> None:
    together = [clone.start() for _ in range(4)]
    said = [process.communicate(timeout=60)[0] for process in together]
    assert [process.returncode for process in together] == [0] * 4, said
    assert clone.done == ["venv", "pip requirements.lock", "pip ."]


def test_the_developers_environment_is_the_users_and_more(clone: Clone) -> None:
    assert clone.make(".venv/.dev")[0] == 0
    assert clone.done == ["venv", "pip requirements.lock", "pip .", "pip requirements-dev.lock"]
    assert clone.make(".venv/.dev") == (0, "")
    assert len(clone.done) == 4, "nothing is older than its lock file"


def test_a_python_that_is_too_old_is_named_with_the_way_out(clone: Clone) -> None:
    code, said = clone.make(FAKE_VERSION="3.10")
    assert code != 0
    assert f"cannot use {clone.python}: it is Python 3.10, and orchd needs 3.11 or newer" in said
    assert "make demo PYTHON=python3.11" in said


def test_python3_venv_is_named_only_where_it_is_missing(clone: Clone) -> None:
    """Whatever else is in the way is said in its own words."""
    code, said = clone.make(FAKE_NO_VENV="1")
    assert code != 0
    assert "apt-get install python3-venv" in said
    code, said = clone.make(FAKE_VENV_FAILS="1")
    assert code != 0
    assert "no space left" in said
    assert "python3-venv" not in said
    assert not (clone.folder / ".venv").exists()


@pytest.mark.parametrize("unwritable", [".", ".venv"])
def test_a_folder_that_is_somebody_elses_is_named_with_its_owner(clone: Clone, unwritable: str) -> None:
    place = clone.folder / unwritable
    place.mkdir(exist_ok=True)
    as_other = []
    if os.geteuid() == 0:  # To root everything is writable.
        as_other = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
        for folder in (clone.folder, *clone.folder.parents):
            if folder.stat().st_uid == 0 and "pytest" in str(folder):
                folder.chmod(0o755)
        if unwritable == ".venv":
            os.chown(clone.folder, 65534, 65534)
    else:
        place.chmod(0o555)
    done = subprocess.run(
        [*as_other, "tools/venv.sh", str(clone.python), ".venv", "run"],
        cwd=clone.folder, env=clone.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"cannot write in {place.resolve()}, which belongs to " in done.stdout
    assert "python3-venv" not in done.stdout
