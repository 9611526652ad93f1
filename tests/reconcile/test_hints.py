"""Last lines of real programs, and the field of an entry that would have helped."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import ContainerLaunch, GpuRequest, Model, RunnerKind, StopSpec
from orchd.domain.ports import SightedAs, Sighting, StopReport
from orchd.domain.runtime_id import RuntimeId
from orchd.reconcile.hints import how_it_ended, how_it_stopped, why_it_failed
from orchd.reconcile.observe import Gone, observe
from orchd.reconcile.runner import Runner
from tests.fakes.models import container_model, external_model
from tests.runtime.bench import runner_of
from tests.runtime.process_models import model_of


def model(**launch: Any) -> Model:
    return container_model(launch=ContainerLaunch("image:1", **launch))


@pytest.mark.parametrize(
    "line",
    [
        "RuntimeError: No CUDA GPUs are available",
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
        "ggml_cuda_init: failed to initialize CUDA: no CUDA-capable device is detected",
        "AssertionError: Torch not compiled with CUDA enabled",
        "sh: 1: nvidia-smi: not found",
        "RuntimeError: Failed to infer device type, please set the environment variable",
    ],
)
def test_a_gpu_that_is_not_seen_is_asked_for_or_doubted(line: str) -> None:
    assert "set `gpus`" in why_it_failed(model(), ["before", line, "after"])
    assert "does the image's CUDA fit the driver" in why_it_failed(model(gpus=GpuRequest("all")), [line])
    assert line in why_it_failed(model(), [line])


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("chown: changing ownership of '/data': Operation not permitted", '"CHOWN"'),
        ('nginx: [emerg] chown("/var/cache/nginx/client_temp", 101) failed (1: Operation not permitted)', '"CHOWN"'),
        ("nginx: [emerg] setgid(101) failed (1: Operation not permitted)", '"SETUID", "SETGID"'),
        ('error: failed switching to "redis": operation not permitted', '"SETUID", "SETGID"'),
        ("su-exec: setgroups(1000): Operation not permitted", '"SETUID", "SETGID"'),
        ("nginx: [emerg] bind() to 0.0.0.0:80 failed (13: Permission denied)", '"NET_BIND_SERVICE"'),
        ("PermissionError: [Errno 13] Permission denied: cannot open '/data/cache'", '"DAC_OVERRIDE"'),
        ("mbind: Operation not permitted", '"SYS_NICE"'),
        ("mlock failed: Operation not permitted", '"IPC_LOCK"'),
    ],
)
def test_root_without_its_capabilities_is_told_which_it_lacks(line: str, names: str) -> None:
    assert f"`cap_add`: [{names}]" in why_it_failed(model(), [line])
    assert why_it_failed(model(user="1000:1000"), [line]) == "", "a plain user has none anywhere"
    had = tuple(name.strip('"') for name in names.split(", "))
    assert why_it_failed(model(cap_add=had), [line]) == ""
    assert why_it_failed(model(cap_add=("CAP_ALL",)), [line]) == ""


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        ("    os.setgid(33)", "PermissionError: [Errno 1] Operation not permitted", '"SETUID", "SETGID"'),
        ("    os.chown('/x', 33, 33)", "PermissionError: [Errno 1] Operation not permitted: '/x'", '"CHOWN"'),
        ("    sock.bind(('', 80))", "PermissionError: [Errno 13] Permission denied", '"NET_BIND_SERVICE"'),
        ("    self.take()", "PermissionError: [Errno 1] Operation not permitted", "the one that this call needs"),
    ],
)
def test_a_refusal_whose_call_stands_in_the_lines_before_it_is_understood(call: str, error: str, says: str) -> None:
    lines = [
        "Traceback (most recent call last):",
        '  File "/opened/listen.py", line 7, in main',
        call,
        "    ^^^^",
        error,
    ]
    assert says in why_it_failed(model(), lines)
    assert f"(it said: {error})" in why_it_failed(model(), lines)
    assert why_it_failed(model(user="1000"), lines) == ""
    assert why_it_failed(model(cap_add=("ALL",)), lines) == ""


def test_lines_that_do_not_belong_to_the_refusal_say_nothing_about_it() -> None:
    lines = ["listening, about to chown", "HTTP 403: Permission denied by the hub"]
    assert why_it_failed(model(), lines) == ""


@pytest.mark.parametrize("line", ["", "Traceback (most recent call last):", "HTTP 403: Permission denied by the hub"])
def test_other_lines_point_to_nothing(line: str) -> None:
    assert why_it_failed(model(), [line]) == ""


@given(st.lists(st.text(max_size=500), max_size=20))
def test_whatever_it_says_is_only_read(lines: list[str]) -> None:
    for each in (model(), external_model(), model_of("true")):
        assert len(why_it_failed(each, lines)) < 1000


def test_only_containers_lack_what_orchd_took() -> None:
    assert why_it_failed(model_of("true"), ["chown: Operation not permitted"]) == ""


def test_a_stop_that_took_the_whole_grace_says_what_was_ignored_and_what_to_do() -> None:
    killed = StopReport("killed", 137)
    said = how_it_stopped(container_model(stop=StopSpec("SIGINT", 30.0)), killed)
    assert said.startswith("killed, exit code 137: it did not end within 30 s of SIGINT (`stop.grace_s`); process 1 of")
    assert "`init`: true" in said
    assert "process 1" not in how_it_stopped(model(init=True), killed)
    assert "process 1" not in how_it_stopped(model_of("true"), StopReport("killed", -9))
    assert how_it_stopped(model(), StopReport("signal", 0)) == "it ended on SIGTERM with exit code 0"
    assert how_it_stopped(model(), StopReport("signal", -15)) == "it ended on SIGTERM"
    assert how_it_stopped(model(), StopReport("already_gone")) == "it had ended already"


@pytest.mark.parametrize(
    ("launch", "exit_code", "oom", "says"),
    [
        ({"memory_bytes": 64 * 2**20}, 137, True, "more memory than it may (`memory` is 64 MiB)"),
        ({}, 137, True, "by the kernel for want of memory on this machine"),
        ({}, 137, False, "it exited with code 137 (SIGKILL: somebody killed it, or the kernel for want of memory;"),
        ({}, -9, False, "it exited with code -9 (SIGKILL: "),
        ({}, 3, False, "it exited with code 3"),
        ({}, None, False, "it exited"),
    ],
)
def test_how_a_runner_ended_is_told_with_its_cause(
    launch: dict[str, Any], exit_code: int, oom: bool, says: str
) -> None:
    wanted = model(**launch)
    id = runner_of(wanted)
    runner = Runner(id, wanted, RunnerState.READY, since=0.0, runtime=RuntimeId(RunnerKind.CONTAINER), handle="h")
    seen = Sighting(id, "h", SightedAs.EXITED, exit_code=exit_code, oom_killed=oom)
    [gone] = observe(RuntimeId(RunnerKind.CONTAINER), [seen], {id: runner}, 1.0)
    assert isinstance(gone, Gone)
    assert says in gone.why


@pytest.mark.parametrize(
    ("fault", "leaving_why", "report", "says"),
    [
        ("it exited with code 3", "", StopReport("already_gone", 3), "it exited with code 3"),
        (
            "it stayed unhealthy",
            "",
            StopReport("signal", 0),
            "it stayed unhealthy; it ended on SIGTERM with exit code 0",
        ),
        ("", "replaced by x", StopReport("signal", 0), "replaced by x; it ended on SIGTERM with exit code 0"),
        ("", "replaced by x", StopReport("already_gone", 0), "replaced by x; it had ended already with exit code 0"),
        ("", "", StopReport("already_gone"), "it was stopped; it had ended already"),
        ("", "x", StopReport("killed", 137), "x; killed, exit code 137: it did not end within 10 s of SIGTERM"),
    ],
)
def test_the_end_of_a_log_says_why_and_by_what_it_ended(
    fault: str, leaving_why: str, report: StopReport, says: str
) -> None:
    wanted = model()
    runner = Runner(runner_of(wanted), wanted, RunnerState.STOPPING, fault=fault, leaving_why=leaving_why)
    assert how_it_ended(runner, report).startswith(says)
