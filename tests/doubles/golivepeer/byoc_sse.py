"""An SSE answer on its way to the caller: line by line, and on and on after the worker's end.

Source: byoc.md 5.5; byoc-sse.json.
"""

from __future__ import annotations

from aiohttp import web

from orchd.tasks import cancel, spawn
from tests.doubles.golivepeer.byoc import Byoc
from tests.doubles.golivepeer.byoc_creds import Job
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.go_client import LINE_LIMIT, Answer

# Every so many seconds a priced stream pays for as many.
CHARGE_S = 5
# The real busy loop wrote about 380 kB a second. Here it is as many empty lines, in steps of the clock, so that a
# clock that stands still bounds it.
BLANK_LINES = 3800
BLANK_STEP_S = 0.01


async def relay(byoc: Byoc, request: web.Request, job: Job, answer: Answer) -> web.StreamResponse:
    """Relay until `timeout_seconds` after the headers, or until the caller leaves (cancels)."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream",
            "Cache-Control": "no-cache",
            "Connection": "keep-alive",
            "X-Metadata": answer.headers.get("X-Metadata", ""),
            "Livepeer-Payment-Balance": byoc.balance(job),
        }
    )
    await response.prepare(request)
    clock = byoc.node.clock
    out_of_funds = False

    async def charge() -> None:
        nonlocal out_of_funds
        while byoc.charge(job, CHARGE_S) >= 0:
            await clock.sleep(CHARGE_S)
        out_of_funds = True
        end.reschedule(0)

    try:
        async with clock.timeout(job.timeout_s) as end:
            charging = spawn(charge(), name=f"charge for {job.id}")
            try:
                await _lines(byoc, job, answer, response)
            finally:
                await cancel(charging)
    except TimeoutError:
        if out_of_funds:
            await response.write(b'event: insufficient balance\ndata: {"balance": 0}\n\ndata: [DONE]\n\n')
    await response.write_eof()
    return response


async def _lines(byoc: Byoc, job: Job, answer: Answer, response: web.StreamResponse) -> None:
    async for line in answer.lines():
        if len(line) >= LINE_LIMIT:  # Which ends the relay as the worker's end does.
            break
        if b"[DONE]" in line:
            wei = int(byoc.balance(job))
            await response.write(b'data: {"balance": %.3f}\n\n\n' % wei)
        await response.write(line + b"\n")
    await _blanks(byoc.node.clock, response)


async def _blanks(clock: Clock, response: web.StreamResponse) -> None:
    """The node doesn't notice that nothing more will come."""
    while True:
        await response.write(b"\n" * BLANK_LINES)
        await clock.sleep(BLANK_STEP_S)
