"""Every module can be imported, in any order, and Python has nothing to say against it."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import orchd

MODULES = sorted(
    module.name for module in pkgutil.walk_packages(orchd.__path__, "orchd.") if module.name != "orchd.__main__"
)


@pytest.mark.parametrize("backwards", [False, True])
def test_every_module_can_be_imported(backwards: bool) -> None:
    assert len(MODULES) > 100
    script = "\n".join(f"import {name}" for name in sorted(MODULES, reverse=backwards))
    ran = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
