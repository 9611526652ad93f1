"""EDGE. Environments for programs of others, of Python and of npm, which must not share orchd's; made once a machine.

`python -m tests.e2e.environments [NAME...]` makes them; so do the tests where all of them must run.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(os.environ.get("ORCHD_TEST_CACHE") or "/var/cache/orchd-test")


@dataclass(frozen=True)
class CachedEnvironment(ABC):
    """Programs that are made once a machine, in a folder of the cache.

    Attributes:
        about: what it is, and how large.
    """

    name: str
    about: str

    @property
    def folder(self) -> Path:
        return CACHE / self.name

    def ready(self) -> bool:
        return self._mark.exists() and self._mark.read_text() == self._content

    def make(self) -> None:
        """Make it unless it is there. Others that make it are waited for.

        Raises:
            CalledProcessError: the installer has failed; its output is told on stderr.
        """
        CACHE.mkdir(parents=True, exist_ok=True)
        with self.folder.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self.ready():
                return
            shutil.rmtree(self.folder, ignore_errors=True)
            self._build()
            self._mark.write_text(self._content)

    @property
    def _mark(self) -> Path:
        return self.folder / "made"

    @property
    @abstractmethod
    def _content(self) -> str:
        """What it was made of: another one is made again."""

    @abstractmethod
    def _build(self) -> None:
        """Make the folder, which is not there."""


@dataclass(frozen=True)
class Environment(CachedEnvironment):
    """One of Python.

    Attributes:
        installs: arguments of pip, one call after the other; a second line of a call is what follows where the first
            has failed.
    """

    installs: tuple[tuple[tuple[str, ...], ...], ...]

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def _build(self) -> None:
        subprocess.run([sys.executable, "-m", "venv", self.folder], check=True)
        for first, *others in self.installs:
            self._install(first, others)

    @property
    def _content(self) -> str:
        return " ".join((sys.version, *(text for first, *_ in self.installs for text in first)))

    def _install(self, what: tuple[str, ...], others: list[tuple[str, ...]]) -> None:
        pip = (self.python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir")
        try:
            subprocess.run([*pip, *what], check=True, stdin=subprocess.DEVNULL)
        except subprocess.CalledProcessError:
            if not others:
                raise
            self._install(others[0], others[1:])


@dataclass(frozen=True)
class NpmEnvironment(CachedEnvironment):
    """Programs from npm, at the versions and with the checksums of a lock file. No script of a package is run.

    Attributes:
        lock: the folder with package.json and package-lock.json.
    """

    lock: Path

    @property
    def modules(self) -> Path:
        return self.folder / "node_modules"

    def _build(self) -> None:
        self.folder.mkdir()
        for file in ("package.json", "package-lock.json"):
            shutil.copy(self.lock / file, self.folder)
        quiet = ("--ignore-scripts", "--no-fund", "--no-audit", "--loglevel=error")
        subprocess.run(["npm", "ci", *quiet], cwd=self.folder, check=True, stdin=subprocess.DEVNULL)

    @property
    def _content(self) -> str:
        return (self.lock / "package-lock.json").read_text()


_TORCH = "torch==2.13.0+cpu"
PYTRICKLE = Environment(
    "pytrickle",
    "PyTrickle (1.4 GB)",
    (
        # PyPI has no builds for CPUs alone. A machine may have the wheel in a folder that its pip knows.
        ((_TORCH,), (_TORCH, "--index-url=https://download.pytorch.org/whl/cpu")),
        # It doesn't install as it is: the newest PyAV release that it takes has no wheels (container.md 2.6).
        (("--only-binary=av", "pytrickle==0.1.6"),),
    ),
)
SDK = Environment(
    "livepeer-gateway",
    "Livepeer's Python SDK (0.2 GB)",
    # It asks for Python 3.12 and runs on 3.11, too. Its PyAV is newer than PyTrickle's.
    ((("--ignore-requires-python", "--only-binary=:all:", "livepeer-gateway==1.0.0"),),),
)
CHAIN = NpmEnvironment(
    "livepeer-chain",
    "anvil and solc (60 MB)",
    Path(__file__).parents[1] / "doubles" / "livepeer_chain" / "contracts",
)


ALL: tuple[CachedEnvironment, ...] = (PYTRICKLE, SDK, CHAIN)


if __name__ == "__main__":
    for each in ALL:
        if each.name in sys.argv[1:] or not sys.argv[1:]:
            each.make()
            print(each.folder)
