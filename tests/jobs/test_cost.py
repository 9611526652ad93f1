"""What a small job costs orchd, counted in calls of Python functions: wall clocks differ, this number does not."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType

import orchd
from tests.jobs.fakes import Bench
from tests.jobs.messages import request
from tests.virtual_time import virtual_time

MOST_CALLS = 74
"""Of orchd's own functions, generators that go on included. Who raises this has measured what the job costs by it."""

OWN = str(Path(orchd.__file__).parent)


@virtual_time
async def test_a_small_job_on_kept_connections_takes_no_more_calls_than_it_did() -> None:
    bench = Bench(hooks=[])
    small = request(body=b"ab")
    caller = await bench.serve(small)
    caller.say(small)  # Whatever is made at first use is made now.
    await bench.idle()
    called: Counter[str] = Counter()

    def count(frame: FrameType, event: str, what: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(OWN):
            called[frame.f_code.co_qualname] += 1

    sys.setprofile(count)
    try:
        caller.say(small)
        await bench.settle()
    finally:
        sys.setprofile(None)
    assert bench.outcomes == ["ok"] * 3
    assert 0 < called.total() <= MOST_CALLS, called.most_common()
