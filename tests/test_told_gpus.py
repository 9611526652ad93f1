"""Which GPU clients are told of, of those that the driver knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from orchd.domain.details import Details, Gpu, HostGpu
from orchd.domain.ids import Address
from orchd.domain.model import ContainerLaunch, ExternalLaunch, GpuRequest, Model
from orchd.errors import Code, LaunchError
from orchd.told_gpus import ToldGpus
from tests.catalog.helpers import entry, model_of, read

SMALL = HostGpu("GPU-a", "0", "NVIDIA T4", 15360)
LARGE = HostGpu("GPU-b", "1", "NVIDIA L40S", 46068)


class Driver:
    """Attributes:
    asked: how often.
    """

    def __init__(self, *gpus: HostGpu) -> None:
        self.gpus = gpus
        self.asked = 0

    async def ask(self) -> Sequence[HostGpu]:
        self.asked += 1
        if not self.gpus:
            raise LaunchError("cannot choose a GPU: no driver", code=Code.GPU_UNAVAILABLE)
        return self.gpus


def model(gpus: GpuRequest | None, details: Details | None = None) -> Model:
    return replace(model_of(read(entry())), launch=ContainerLaunch("a", gpus=gpus), details=details or Details())


@pytest.mark.parametrize(
    ("request_", "named", "told"),
    [
        (GpuRequest("ids", ids=("1",)), (), Gpu("1", "NVIDIA L40S", 46068)),
        (GpuRequest("ids", ids=("GPU-b",)), ("0",), Gpu("1", "NVIDIA L40S", 46068)),
        (GpuRequest("ids", ids=("1", "0")), (), Gpu("", "NVIDIA T4", 15360)),
        (GpuRequest("count", count=1), (), Gpu("", "NVIDIA T4", 15360)),
        (GpuRequest("count", count=1), ("GPU-b",), Gpu("1", "NVIDIA L40S", 46068)),
        (GpuRequest("all"), ("GPU-b",), Gpu("", "NVIDIA T4", 15360)),
        (GpuRequest("ids", ids=("7",)), (), None),
        (None, (), None),
    ],
)
async def test_of_the_gpus_that_a_session_may_get_the_one_with_the_least_memory_is_told(
    request_: GpuRequest | None, named: tuple[str, ...], told: Gpu | None
) -> None:
    gpus = ToldGpus(Driver(LARGE, SMALL).ask, named)
    await gpus.learn([model(request_)])
    assert gpus.of(model(request_)) == told


async def test_an_entry_is_taken_at_its_word_and_the_driver_is_not_asked_for_it() -> None:
    driver = Driver(SMALL)
    own = model(GpuRequest("all"), Details(Gpu(name="mine")))
    outside = replace(own, launch=ExternalLaunch(Address("h", 80)), details=Details())
    gpus = ToldGpus(driver.ask, ())
    await gpus.learn([own, model(None), outside])
    assert driver.asked == 0
    assert (gpus.of(own), gpus.of(model(None)), gpus.of(outside)) == (Gpu(name="mine"), None, None)


async def test_a_driver_that_can_not_tell_is_asked_once_and_nothing_is_told() -> None:
    driver = Driver()
    gpus = ToldGpus(driver.ask, ())
    wanting = model(GpuRequest("all"))
    await gpus.learn([wanting])
    await gpus.learn([wanting])
    assert (driver.asked, gpus.of(wanting)) == (1, None)
