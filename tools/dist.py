"""Builds the wheel and the sdist: python tools/dist.py FOLDER

From a copy of what belongs to the package, so that nothing of an earlier build gets in, with the setuptools that is
installed, so that nothing is fetched.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path

from setuptools import build_meta

ROOT = Path(__file__).parents[1]
FILES = ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "deploy/orchd.1")


def build(folder: Path) -> tuple[Path, Path]:
    """Return the paths of the wheel and of the sdist, made in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name)
        shutil.copytree(ROOT / "orchd", copy / "orchd", ignore=shutil.ignore_patterns("__pycache__"))
        for file in FILES:
            (copy / file).parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / file, copy / file)
        (copy / "MANIFEST.in").write_text("include CHANGELOG.md deploy/orchd.1\n")
        with contextlib.chdir(copy), contextlib.redirect_stdout(io.StringIO()):
            return folder / build_meta.build_wheel(str(folder)), folder / build_meta.build_sdist(str(folder))


if __name__ == "__main__":
    for path in build(Path(sys.argv[1]).absolute()):
        print(path)
