"""What a drain waits for, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from orchd.domain.ids import ModelKey
from orchd.domain.phases import StreamPhase
from orchd.realtime.stream import Stream

MOST_NAMED = 5
_WHY = {
    StreamPhase.HELD: "its caller has not started it, and has not let it go",
    StreamPhase.STARTING: "its container has not answered to the start",
    StreamPhase.RUNNING: "nobody has stopped it",
    StreamPhase.ENDING: "its container has not said that it has stopped",
    StreamPhase.ENDED: "it is settled",
}


def waits_for(busy: Mapping[ModelKey, int], streams: Iterable[Stream], most_s: float) -> str:
    """Return what keeps jobs from having ended, and why.

    Args:
        busy: slots that are taken, those of streams included, by model.
        streams: that hold some of them.
        most_s: how long a drain waits, seconds.
    """
    held = [stream for stream in streams if stream.phase is not StreamPhase.ENDED]
    jobs = {key: count - sum(stream.key == key for stream in held) for key, count in busy.items()}
    jobs = {key: count for key, count in jobs.items() if count > 0}
    if not jobs and not held:
        return "its last jobs to be settled"
    counts = [_counted(sum(jobs.values()), "job"), _counted(len(held), "stream")]
    named = [f"{count} of {key}" for key, count in jobs.items()]
    named += [f"stream {each.id} of {each.key} since {_hour(each)}: {_WHY[each.phase]}" for each in held]
    more = [f"{len(named) - MOST_NAMED} more"] if len(named) > MOST_NAMED else []
    what = "; ".join([*named[:MOST_NAMED], *more])
    return f"{' and '.join(filter(None, counts))} to end, at most {most_s:g} s: {what}"


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}" if count else ""


def _hour(stream: Stream) -> str:
    return f"{datetime.fromtimestamp(stream.began_date, UTC):%H:%M:%S} UTC"
