"""What channels give, as the relay takes it. Pure: the clock is given."""

from __future__ import annotations

from collections.abc import Callable

from orchd.channels.answers import TrickleAnswer
from orchd.channels.reading import ReadMark, SegmentReader
from orchd.channels.requests import Hold
from orchd.channels.upload import Took, Upload
from orchd.relay.ports import OwnHead, OwnMark, OwnSink, OwnSource

_MARKS = {ReadMark.WAIT: OwnMark.WAIT, ReadMark.END: OwnMark.END, ReadMark.CUT: OwnMark.CUT}


def begun(found: TrickleAnswer | Hold, now: Callable[[], float]) -> OwnHead | OwnSource | OwnSink:
    """Return what answers a request.

    Args:
        now: seconds of the channels' clock.
    """
    match found:
        case SegmentReader():
            return ReaderSource(found)
        case Upload():
            return UploadSink(found, now)
    return head_of(found)


def head_of(answer: TrickleAnswer) -> OwnHead:
    headers = [(name.encode(), value.encode()) for name, value in answer.headers if name != "Connection"]
    last = any(name == "Connection" for name, _ in answer.headers)
    return OwnHead(answer.status, headers, answer.body, last)


class ReaderSource(OwnSource):
    """A GET of a segment."""

    __slots__ = ("_reader",)

    def __init__(self, reader: SegmentReader) -> None:
        self._reader = reader

    def step(self, most: int) -> OwnHead | bytes | OwnMark:
        match self._reader.step(most):
            case TrickleAnswer() as answer:
                return head_of(answer)
            case ReadMark() as mark:
                return _MARKS[mark]
            case piece:
                return piece

    def leave(self) -> None:
        self._reader.leave()


class UploadSink(OwnSink):
    """A POST of a segment."""

    __slots__ = ("_now", "_upload")

    def __init__(self, upload: Upload, now: Callable[[], float]) -> None:
        self._upload = upload
        self._now = now

    def early(self) -> OwnHead | None:
        answer = self._upload.early()
        return None if answer is None else head_of(answer)

    def take(self, piece: bytes) -> OwnHead | bool:
        took = self._upload.take(piece, self._now())
        return took is Took.TAKEN if isinstance(took, Took) else head_of(took)

    def end(self) -> OwnHead:
        return head_of(self._upload.end(self._now()))

    def leave(self) -> None:
        self._upload.leave(self._now())
