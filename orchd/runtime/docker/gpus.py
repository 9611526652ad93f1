"""Which GPUs this machine has, as its driver's library (NVML) says."""

from __future__ import annotations

from collections.abc import Sequence

import pynvml  # type: ignore[import-untyped]

from orchd.domain.details import HostGpu
from orchd.errors import Code, LaunchError
from orchd.threads import DaemonThreads

_driver = DaemonThreads("nvml")
"""The driver is the machine's, so a call that hangs is everybody's; the library is not asked twice at a time."""


def driver_gpus() -> tuple[HostGpu, ...]:
    """Return each GPU, in the driver's order. Blocks, for up to seconds.

    Raises:
        LaunchError: there is no driver, or it does not answer.
    """
    try:
        pynvml.nvmlInit()
        try:
            return tuple(_read(index) for index in range(pynvml.nvmlDeviceGetCount()))
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError as exc:
        raise LaunchError(
            f"cannot choose a GPU: the NVIDIA driver says: {exc}; without a driver here (orchd in a container), "
            "name the GPUs in docker.gpu_ids, or in the entry's `gpus` by id",
            code=Code.GPU_UNAVAILABLE,
        ) from exc


def _read(index: int) -> HostGpu:
    handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    try:
        name = str(pynvml.nvmlDeviceGetName(handle))
        vram_mb = int(pynvml.nvmlDeviceGetMemoryInfo(handle).total) >> 20
    except pynvml.NVMLError:  # Runners need neither.
        name, vram_mb = "", 0
    return HostGpu(str(pynvml.nvmlDeviceGetUUID(handle)), str(index), name, vram_mb)


async def known_gpus(named: Sequence[str], limit_s: float) -> tuple[tuple[str, ...], ...]:
    """Return the GPUs to choose from, each by all its names: those that the settings name, else the driver's.

    Raises:
        LaunchError: none are named, and the driver can't tell, or does not within `limit_s` seconds.
    """
    if named:
        return tuple((each,) for each in named)
    return tuple((each.uuid, each.index) for each in await host_gpus(limit_s))


async def host_gpus(limit_s: float) -> tuple[HostGpu, ...]:
    """Return the GPUs of this machine.

    Raises:
        LaunchError: the driver can't tell, or does not within `limit_s` seconds.
    """
    try:
        return await _driver.run(driver_gpus, limit_s)
    except TimeoutError as exc:
        raise LaunchError(
            "cannot choose a GPU: the NVIDIA driver does not answer; does nvidia-smi? If it hangs too, the driver must "
            "be reset or the machine restarted",
            code=Code.GPU_UNAVAILABLE,
        ) from exc
