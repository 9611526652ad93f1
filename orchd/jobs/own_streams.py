"""Requests that a door answers itself in pieces: they may last for hours, and are no jobs."""

from __future__ import annotations

from collections.abc import Callable

from orchd.doors.entrance import Entrance, OwnAnswerKeeper
from orchd.doors.own import OwnStream
from orchd.errors import Code
from orchd.jobs.run import NEVER, Run
from orchd.jobs.verdict import explain_late
from orchd.relay.ports import Carrier, OwnBegin, OwnHead, OwnSink, OwnSource


class OwnStreams:
    """Has doors answer. Who waits for something costs a connection and no task.

    Args:
        stalled_s: how long a caller may take no byte of what it has asked for.

    Attributes:
        runs: the requests that are served now.
    """

    def __init__(self, carrier: Carrier, stalled_s: float) -> None:
        self._carrier = carrier
        self._patience_s = {Code.CALLER_STALLED: stalled_s, Code.BACKEND_STALLED: NEVER}
        self.runs: set[Run] = set()

    async def answer(self, run: Run, way: OwnStream, entrance: Entrance) -> None:
        """Serve one request.

        Raises:
            JobRefused, CallerGone.
        """
        keeper = entrance.own
        assert keeper is not None
        run.counts = False
        run.patience_s, run.explain = self._patience_s, explain_late
        transfer = self._carrier.answer(run, run.caller, _limited(way.begin, keeper, run.peer))
        self.runs.add(run)
        try:
            transfer.start()
            await run.wait()
        finally:
            self.runs.discard(run)
            transfer.stop()
            keeper.answered(run.door.name, way.name, transfer.status)


def _limited(begin: OwnBegin, keeper: OwnAnswerKeeper, peer: str) -> OwnBegin:
    """Return what begins an answer, but refuses who asks too often for what is not there."""

    def limited(wake: Callable[[], None]) -> OwnHead | OwnSource | OwnSink:
        found = begin(wake)
        if isinstance(found, OwnHead) and found.status == 404:
            keeper.limit_address(peer)
        return found

    return limited
