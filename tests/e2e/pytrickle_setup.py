"""EDGE. A Python environment with a real PyTrickle: 1.4 GB, made once a machine in about a minute.

`python -m tests.e2e.pytrickle_setup` makes it; so do the tests where all of them must run. PyTrickle 0.1.6 doesn't
install as it is: the newest PyAV release that it takes has no wheels (container.md 2.6). PyTorch is the one for CPUs.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

FOLDER = Path(os.environ.get("ORCHD_TEST_CACHE") or "/var/cache/orchd-test") / "pytrickle"
PYTHON = FOLDER / "bin" / "python"
_TORCH = "torch==2.13.0+cpu"
_PYTRICKLE = ("--only-binary=av", "pytrickle==0.1.6")
# PyPI has no builds for CPUs alone. A machine may have the wheel in a folder that its pip knows.
_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
_CONTENT = " ".join((sys.version, _TORCH, *_PYTRICKLE))


def ready() -> bool:
    return _mark().exists() and _mark().read_text() == _CONTENT


def make() -> None:
    """Make the environment unless it is there. Others that make it are waited for.

    Raises:
        CalledProcessError: pip has failed; its output is told on stderr.
    """
    FOLDER.parent.mkdir(parents=True, exist_ok=True)
    with FOLDER.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if ready():
            return
        shutil.rmtree(FOLDER, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", FOLDER], check=True)
        try:
            _install(_TORCH)
        except subprocess.CalledProcessError:
            _install(_TORCH, f"--index-url={_CPU_INDEX}")
        _install(*_PYTRICKLE)
        _mark().write_text(_CONTENT)


def _mark() -> Path:
    return FOLDER / "made"


def _install(*what: str) -> None:
    pip = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir")
    subprocess.run([*pip, *what], check=True, stdin=subprocess.DEVNULL)


if __name__ == "__main__":
    make()
    print(PYTHON)
