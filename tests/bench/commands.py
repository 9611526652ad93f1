"""What a command costs that only asks the daemon, while none runs: CPU time against that of `python -c pass`.

`python -m tests.bench.commands` prints it with the bar that each must keep, and ends with 1 if one is missed.

--quick   each command once, and no bar: tells that it works, not how fast anything is

Measured is the package as users have it, compiled, in an environment that holds nothing else: what only asks needs no
library. The least of several runs counts, so that other programs of the machine do not.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Mapping, Sequence
from pathlib import Path

import orchd
from tests.bench.report import Row, Section, markdown
from tests.cli.test_imports import asking

BAR = 12.0
RUNS = 15
ENDS = (0, 2, 3)
"""Exit codes of commands that did their work: it is told, or why it can't be. A traceback's is another."""


def installed(folder: Path) -> Path:
    """Return the Python of an environment in `folder` that has orchd and nothing else."""
    venv.create(folder, symlinks=True)
    package = Path(sysconfig.get_path("purelib", "venv", {"base": str(folder)})) / "orchd"
    shutil.copytree(Path(orchd.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(package, quiet=1)
    return folder / "bin" / "python"


def cpu_s(command: Sequence[str], env: Mapping[str, str], runs: int) -> float:
    """Return the least CPU seconds of `runs` runs."""
    found = []
    for _ in range(runs):
        with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode in ENDS, f"{command} ended with {process.returncode}"
        found.append(used.ru_utime + used.ru_stime)
    return min(found)


def ratios(runs: int) -> dict[str, float]:
    """Return for each command how many times `python -c pass` it costs."""
    with tempfile.TemporaryDirectory(prefix="orchd-bench-") as name:
        python = str(installed(Path(name) / "venv"))
        env = {"ORCHD_CONFIG": os.devnull, "ORCHD_STATE_DIR": name, "ORCHD_ADMIN_LISTEN": "127.0.0.1:1"}
        least = cpu_s([python, "-c", "pass"], env, runs)
        return {
            f"orchd {' '.join(words)}": cpu_s([python, "-m", "orchd", *words], env, runs) / least for words in asking()
        }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.commands", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="each command once, and no bar")
    args = parser.parse_args()
    found = ratios(1 if args.quick else RUNS)
    rows = tuple(Row((line, f"{ratio:.1f}", f"{BAR:g}")) for line, ratio in found.items())
    about = "CPU time without a daemon, in times of `python -c pass`."
    print(markdown(Section("Commands", about, ("", "times", "bar"), rows)))
    if args.quick:
        return 0
    missed = [f"{line} costs {ratio:.1f} times, not {BAR:g}" for line, ratio in found.items() if ratio > BAR]
    for each in missed:
        print(f"missed: {each}")
    print(f"{len(missed)} bars missed" if missed else "all bars kept")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
