"""The wheel and the sdist of `make dist`, installed into an empty environment, bring all that orchd is.

Nothing is fetched: the environment gets links to the libraries that the wheel's own metadata asks for, and to theirs.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

from orchd import __version__

ROOT = Path(__file__).parents[2]
REQUIREMENT = re.compile(r"([\w.-]+)(?:\[([\w,-]+)\])?[^;]*(?:;(.*))?")
EXTRA = re.compile(r"extra == [\"']([\w-]+)")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("dist")
    made = run(sys.executable, ROOT / "tools/dist.py", folder, cwd="/").split()
    return {"wheel": Path(made[-2]), "sdist": Path(made[-1])}


def run(*words: str | Path, cwd: str | Path) -> str:
    """Return what a command prints."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ORCHD_"))}
    ran = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def libraries(requires: Iterable[str], extras: set[str], found: dict[str, Distribution]) -> dict[str, Distribution]:
    """Add the distributions that these requirements mean, and what they require, to `found`; return it."""
    for requirement in requires:
        match = REQUIREMENT.match(requirement)
        assert match is not None
        name, wanted, condition = match.groups()
        extra = EXTRA.search(condition or "")
        if extra is not None and extra[1] not in extras:
            continue
        try:
            one = distribution(name)
        except ModuleNotFoundError:
            assert condition, f"{requirement} is not installed"  # For another platform or Python.
            continue
        if one.name not in found:
            found[one.name] = one
            libraries(one.requires or (), set((wanted or "").split(",")), found)
    return found


def environment(folder: Path, wheel: Path) -> Path:
    """Make an environment with what the wheel asks for, but without itself; return its Python."""
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd="/")
    [site] = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    for one in libraries(re.findall(r"^Requires-Dist: (.+)$", metadata, re.MULTILINE), set(), {}).values():
        for top in {path.parts[0] for path in one.files or () if ".." not in path.parts}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(one.locate_file(top))))
    return folder / "bin" / "python"


@pytest.mark.parametrize("kind", ["wheel", "sdist"])
def test_it_can_be_installed_into_an_empty_environment(built: dict[str, Path], kind: str, tmp_path: Path) -> None:
    wheel = built[kind]
    if kind == "sdist":  # As pip does it.
        with tarfile.open(wheel) as archive:
            archive.extractall(tmp_path / "unpacked", filter="data")
        [source] = (tmp_path / "unpacked").iterdir()
        make = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
        run(sys.executable, "-c", make, cwd=source)
        [wheel] = tmp_path.glob("*.whl")
    python = environment(tmp_path / "environment", wheel)
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--no-index", "--no-deps", "--quiet", wheel, cwd="/")
    run(*pip, "check", cwd="/")

    orchd = python.parent / "orchd"
    assert run(orchd, "--version", cwd="/") == f"orchd {__version__}\n"
    models = tmp_path / "aiModels.json"
    models.write_text(
        json.dumps([{"pipeline": "p", "model_id": "m", "url": "http://127.0.0.1:1", "price_per_unit": 0}])
    )
    assert "1 model, 0 errors" in run(orchd, "check", models, cwd=tmp_path)
    where = "import orchd, pathlib; print(pathlib.Path(orchd.__file__).parent)"
    package = Path(run(python, "-c", where, cwd="/").strip())
    assert package.is_relative_to(tmp_path)
    assert files(package) == files(ROOT / "orchd")
    installed = python.parents[1] / "share/man/man1/orchd.1"
    assert installed.read_text() == (ROOT / "deploy/orchd.1").read_text()


def files(package: Path) -> set[Path]:
    """Return what belongs to the package in a folder; pages about the code stay in the repository."""
    found = {path.relative_to(package) for path in package.rglob("*") if path.is_file()}
    return {path for path in found if path.suffix not in (".pyc", ".md")}


def test_the_newest_version_of_the_changelog_is_the_packages() -> None:
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert newest[1] == __version__


def test_the_changelog_has_kinds_that_are_known() -> None:
    kinds = set(re.findall(r"^### (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
