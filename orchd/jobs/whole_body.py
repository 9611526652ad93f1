"""The body of a request that orchd reads itself: small, and read to its end before anything is done."""

from __future__ import annotations

from orchd.errors import Code
from orchd.jobs.run import Run


async def whole_body(run: Run, most: int, between_s: float) -> bytes:
    """Return the body, of which at most one byte more than `most` has been read.

    Args:
        between_s: idle timeout, seconds.

    Raises:
        JobRefused: BODY_STALLED.
        CallerGone.
    """
    caller = run.caller
    text = f"cannot read the body: the caller sent no byte of it for {between_s:g} s"
    run.within(between_s, Code.BODY_STALLED, lambda *_: text)
    caller.proceed()
    caller.collect(most + 1)
    await run.wait()
    run.without_limit()
    return caller.message.take() if caller.message.pieces else b""
