"""What a runner's own last lines and its way of ending say to somebody who knows orchd and Docker. Pure.

Its lines are in its own terms ("setgid(101) failed (1: Operation not permitted)"); the cure is a field of its entry.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import takewhile

from orchd.domain.model import ContainerLaunch, Model
from orchd.domain.ports import StopReport
from orchd.reconcile.runner import Runner

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
_PERM = re.compile(r"operation not permitted|\beperm\b", re.IGNORECASE)
"""What the kernel says to root who lacks a capability; a file's mode gives the other one, "permission denied"."""
_CALL_LINES = 3
"""Lines before a refusal in which a traceback may hold the call that was refused."""


def why_it_failed(model: Model, last_log: Sequence[str]) -> str:
    """Return what its last lines point to, with the field that would cure it; empty = nothing that is known."""
    if not isinstance(model.launch, ContainerLaunch):
        return ""
    for at, line in reversed([*enumerate(last_log)]):
        if _NO_GPU.search(line):
            return _gpu(model.launch, line)
        if not _DENIED.search(line) or not _is_root(model.launch):
            continue
        if hint := _capabilities(model.launch, line, _traceback(last_log[max(0, at - _CALL_LINES) : at])):
            return hint
    return ""


def _traceback(lines: Sequence[str]) -> str:
    """Return the indented lines at the end of `lines`, which in a traceback hold the call, the last one first."""
    call = takewhile(lambda line: line[:1].isspace(), reversed(lines))
    return "\n".join(line for line in call if not line.lstrip().startswith("File "))


def _gpu(launch: ContainerLaunch, line: str) -> str:
    said = f"it sees no GPU (it said: {line.strip()[:200]})"
    if launch.gpus is None:
        return f"{said}; its entry gives it none: set `gpus`"
    return f"{said}, though its entry has `gpus`: does the image's CUDA fit the driver, and does nvidia-smi work here?"


def _capabilities(launch: ContainerLaunch, line: str, call: str) -> str:
    had = {name.upper().removeprefix("CAP_") for name in launch.cap_add}
    needs = next((needs for text in (line, call) for words, needs in _NEEDS if words.search(text)), ())
    lacks = [name for name in needs if name not in had]
    if "ALL" in had or (needs and not lacks) or not (needs or _PERM.search(line)):
        return ""
    said = (
        f"it may lack a capability, since orchd takes all of them from root in a container (it said: "
        f"{line.strip()[:200]})"
    )
    if not lacks:
        return f"{said}; name the one that this call needs in `cap_add` (`man capabilities` lists them), or set `user`"
    names = ", ".join(f'"{name}"' for name in lacks)
    return f"{said}; try `cap_add`: [{names}], or `user`"


def _is_root(launch: ContainerLaunch) -> bool:
    """Whether it runs as root, as far as the entry tells: the image may name another user."""
    return launch.user is None or launch.user.partition(":")[0] in ("0", "root")


def how_it_stopped(model: Model, report: StopReport) -> str:
    """Return which of the stop's steps ended it, in words."""
    stop = model.stop
    if report.how != "killed":
        asked = report.how == "signal"
        # A process that its signal has ended has that as its exit code, which says nothing more.
        told = report.exit_code is not None and not (asked and report.exit_code < 0)
        return (f"it ended on {stop.signal}" if asked else "it had ended already") + (
            f" with exit code {report.exit_code}" if told else ""
        )
    code = f", exit code {report.exit_code}" if report.exit_code is not None else ""
    words = f"killed{code}: it did not end within {stop.grace_s:g} s of {stop.signal} (`stop.grace_s`)"
    if isinstance(model.launch, ContainerLaunch) and not model.launch.init:
        words += (
            f"; process 1 of a container ignores a signal that its program does not handle: handle {stop.signal}, "
            "or set `init`: true"
        )
    return words


def how_it_ended(runner: Runner, report: StopReport) -> str:
    """Return why a run has ended and by what, in words that can be read without knowing orchd's states."""
    by_itself = report.how not in ("signal", "killed")
    how = "" if runner.fault and by_itself else how_it_stopped(runner.model, report)
    return "; ".join(filter(None, (runner.fault or runner.leaving_why or "it was stopped", how)))
