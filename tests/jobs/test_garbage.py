"""What a job leaves behind: nothing that only a garbage collection could free."""

from __future__ import annotations

import gc
from collections import Counter

import pytest

from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.jobs.run import Run
from orchd.relay.exchange import Exchange
from orchd.relay.half import Half
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import request
from tests.virtual_time import virtual_time


class Looking(FakeHook):
    """Looks at each job, and remembers none of them."""

    def identify(self, job: Job) -> Waits:
        assert job.header(b"host")
        return None

    def admit(self, job: Job) -> Waits:
        return self.identify(job)


def left_over() -> Counter[str]:
    """Return how many there are, by kind, of what a job is made of."""
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, Run | Job | Exchange | Half))


@pytest.mark.parametrize("hooks", [[], [Looking()]], ids=["no hook", "a hook"])
@virtual_time
async def test_a_job_that_has_ended_leaves_no_circle(hooks: list[FakeHook]) -> None:
    """Thousands a second would be found again and again by each collection, which stops all others meanwhile."""
    bench = Bench(hooks=hooks)
    await bench.serve(request(body=b"x"))
    gc.collect()
    before = left_over()  # Of other tests.
    gc.disable()
    try:
        for _ in range(3):
            await bench.serve(request(body=b"x"))
        assert bench.outcomes == ["ok"] * 4
        assert left_over() == before
    finally:
        gc.enable()
