"""The driver's library as a small stand-in, compiled here and loaded as the real one would be; and none at all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchd.domain.details import HostGpu
from orchd.runtime.docker.gpus import known_gpus

FAKE = r"""
#include <stdio.h>
#include <unistd.h>
typedef int nvmlReturn_t;
static int devices[] = {0, 1};
nvmlReturn_t nvmlInitWithFlags(unsigned flags) { while (INIT < 0) pause(); return INIT; }
nvmlReturn_t nvmlShutdown(void) { return 0; }
nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device) { *device = &devices[index]; return 0; }
nvmlReturn_t nvmlDeviceGetUUID(void *device, char *uuid, unsigned length) {
    snprintf(uuid, length, "GPU-%d", *(int *)device);
    return 0;
}
nvmlReturn_t nvmlDeviceGetName(void *device, char *name, unsigned length) {
    if (*(int *)device) return 3;
    snprintf(name, length, "NVIDIA L40S");
    return 0;
}
nvmlReturn_t nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory) {
    memory[0] = 46068ULL << 20;
    return 0;
}
const char *nvmlErrorString(nvmlReturn_t result) { return "driver trouble"; }
"""

ASK = """
import asyncio, sys
from orchd.errors import LaunchError
from orchd.runtime.docker.gpus import host_gpus, known_gpus
async def main():
    for _ in range(int(sys.argv[2])):
        try:
            print(await known_gpus((), float(sys.argv[1])))
            print(await host_gpus(float(sys.argv[1])))
        except LaunchError as error:
            print(error.code, error.message)
asyncio.run(main())
"""


def ask(library: Path, limit_s: float = 30) -> str:
    """What a process says in which the loader looks into `library` first."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(limit_s), "3" if limit_s < 1 else "1"],
        env={**os.environ, "LD_LIBRARY_PATH": str(library)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def compile_fake(compiler: str, folder: Path, init: int) -> None:
    source = folder / "nvml.c"
    source.write_text(FAKE)
    made = folder / "libnvidia-ml.so.1"
    subprocess.run([compiler, "-shared", "-fPIC", f"-DINIT={init}", "-o", made, source], check=True)


def test_gpus_are_known_by_uuid_and_index(tmp_path: Path, needs: Callable[[str], str]) -> None:
    compile_fake(needs("gcc"), tmp_path, init=0)
    names, _ = ask(tmp_path).splitlines()
    assert names == "(('GPU-0', '0'), ('GPU-1', '1'))"


def test_gpus_have_name_and_memory_and_one_that_tells_neither_can_be_chosen_all_the_same(
    tmp_path: Path, needs: Callable[[str], str]
) -> None:
    compile_fake(needs("gcc"), tmp_path, init=0)
    _, gpus = ask(tmp_path).splitlines()
    assert gpus == str(
        (HostGpu("GPU-0", "0", "NVIDIA L40S", 46068), HostGpu("GPU-1", "1", "", 0)),
    )


@pytest.mark.parametrize(
    ("init", "says"),
    [(9, "Driver Not Loaded"), (15, "GPU is lost")],
)
def test_a_driver_that_does_not_work_is_quoted(
    tmp_path: Path, needs: Callable[[str], str], init: int, says: str
) -> None:
    compile_fake(needs("gcc"), tmp_path, init=init)
    answer = ask(tmp_path)
    assert answer.startswith("gpu_unavailable cannot choose a GPU: the NVIDIA driver says: ")
    assert says in answer


def test_a_driver_that_hangs_is_named_each_time_and_does_not_keep_orchd_from_ending(
    tmp_path: Path, needs: Callable[[str], str]
) -> None:
    compile_fake(needs("gcc"), tmp_path, init=-1)
    answers = ask(tmp_path, limit_s=0.1).splitlines()
    assert len(answers) == 3
    for answer in answers:
        assert answer.startswith("gpu_unavailable cannot choose a GPU: the NVIDIA driver does not answer")


def test_without_a_driver_the_message_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "libnvidia-ml.so.1").write_text("no library")  # hides a real one
    answer = ask(tmp_path)
    assert answer.startswith(
        "gpu_unavailable cannot choose a GPU: the NVIDIA driver says: NVML Shared Library Not Found"
    )
    assert "docker.gpu_ids" in answer


async def test_gpus_named_in_the_settings_are_taken_as_they_are() -> None:
    assert await known_gpus(("GPU-a", "1"), 1) == (("GPU-a",), ("1",))
