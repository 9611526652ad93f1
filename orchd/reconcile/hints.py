"""What a runner's own last lines and its way of ending say to somebody who knows orchd and Docker. Pure.

Its lines are in its own terms ("setgid(101) failed (1: Operation not permitted)"); the cure is a field of its entry.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchd.domain.model import ContainerLaunch, Model
from orchd.domain.ports import StopReport

_NO_GPU = re.compile(
    r"no cuda gpus are available|found no nvidia driver|no cuda-capable device|no nvidia gpu"
    r"|no gpus? (?:was |were )?found"
    r"|cuda driver version is insufficient|nvidia-smi: (?:command )?not found|libcuda\.so\.1: cannot open"
    r"|failed to initialize nvml|torch not compiled with cuda enabled|no hip gpus are available"
    r"|failed to infer device type",
    re.IGNORECASE,
)
_DENIED = re.compile(r"operation not permitted|permission denied|\beperm\b|\beacces\b", re.IGNORECASE)

_NEEDS: tuple[tuple[re.Pattern[str], tuple[str, ...]], ...] = (
    (re.compile(r"chown", re.IGNORECASE), ("CHOWN",)),
    (
        re.compile(
            r"set(?:res|re|e)?[ug]id|setgroups|initgroups|gosu|su-exec|setpriv|switching to|drop\w* privileges",
            re.IGNORECASE,
        ),
        ("SETUID", "SETGID"),
    ),
    (re.compile(r"\bbind|listen", re.IGNORECASE), ("NET_BIND_SERVICE",)),
    (re.compile(r"sched_|setpriority|\bnice\b|set_mempolicy|mbind", re.IGNORECASE), ("SYS_NICE",)),
    (re.compile(r"mlock", re.IGNORECASE), ("IPC_LOCK",)),
    (re.compile(r"chmod|utime", re.IGNORECASE), ("FOWNER",)),
    (re.compile(r"mkdir|open|creat|write|read|access", re.IGNORECASE), ("DAC_OVERRIDE",)),
)
"""Words beside a refusal, and the capabilities that root has elsewhere and lacks here. The first that fits decides."""


def why_it_failed(model: Model, last_log: Sequence[str]) -> str:
    """Return what its last lines point to, with the field that would cure it; empty = nothing that is known."""
    if not isinstance(model.launch, ContainerLaunch):
        return ""
    for line in reversed(last_log):
        if _NO_GPU.search(line):
            return _gpu(model.launch, line)
        if _DENIED.search(line) and _is_root(model.launch) and (hint := _capabilities(model.launch, line)):
            return hint
    return ""


def _gpu(launch: ContainerLaunch, line: str) -> str:
    said = f"it sees no GPU (it said: {line.strip()[:200]})"
    if launch.gpus is None:
        return f"{said}; its entry gives it none: set `gpus`"
    return f"{said}, though its entry has `gpus`: does the image's CUDA fit the driver, and does nvidia-smi work here?"


def _capabilities(launch: ContainerLaunch, line: str) -> str:
    had = {name.upper().removeprefix("CAP_") for name in launch.cap_add}
    needs = next((needs for words, needs in _NEEDS if words.search(line)), ())
    lacks = [name for name in needs if name not in had]
    if not lacks or "ALL" in had:
        return ""
    names = ", ".join(f'"{name}"' for name in lacks)
    return (
        f"it may lack a capability, since orchd takes all of them from root in a container (it said: "
        f"{line.strip()[:200]}); try `cap_add`: [{names}], or `user`"
    )


def _is_root(launch: ContainerLaunch) -> bool:
    """Whether it runs as root, as far as the entry tells: the image may name another user."""
    return launch.user is None or launch.user.partition(":")[0] in ("0", "root")


def how_it_stopped(model: Model, report: StopReport) -> str:
    """Return which of the stop's steps ended it, in words."""
    code = f", exit code {report.exit_code}" if report.exit_code is not None else ""
    if report.how != "killed":
        return report.how + code
    stop = model.stop
    words = f"killed{code}: it did not end within {stop.grace_s:g} s of {stop.signal} (`stop.grace_s`)"
    if isinstance(model.launch, ContainerLaunch) and not model.launch.init:
        words += (
            f"; process 1 of a container ignores a signal that its program does not handle: handle {stop.signal}, "
            "or set `init`: true"
        )
    return words
