"""A server's edge without sockets: it asks again only when woken, as a real one does, so a lost wake shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchd.channels.answers import CLOSED, LATEST, SEQ, TrickleAnswer
from orchd.channels.bounds import Bounds
from orchd.channels.channels import Channels
from orchd.channels.reading import ReadMark, SegmentReader
from orchd.channels.requests import ask
from orchd.channels.upload import Took, Upload

EVERYTHING = 1 << 40


def headers_of(answer: TrickleAnswer) -> dict[str, str]:
    return dict(answer.headers)


class Woken:
    """Whether it is worth asking; at first it is."""

    def __init__(self) -> None:
        self.now = True

    def wake(self) -> None:
        self.now = True


class Get(Woken):
    """One GET. `most` is what its connection takes at once; a stalled one takes nothing until `look(most)`."""

    def __init__(self, rig: Rig, path: str, method: str = "GET") -> None:
        super().__init__()
        self.pieces: list[bytes] = []
        self.mark: ReadMark | None = None
        self.answer: TrickleAnswer | None = None
        found = ask(rig.channels, method, path, self.wake, reset=False)
        self._reading = found if isinstance(found, SegmentReader) else None
        if isinstance(found, TrickleAnswer):
            self.answer, self.mark = found, ReadMark.END

    @property
    def data(self) -> bytes:
        return b"".join(self.pieces)

    @property
    def status(self) -> int | None:
        return self.answer.status if self.answer else None

    @property
    def headers(self) -> Mapping[str, str]:
        assert self.answer is not None
        return headers_of(self.answer)

    def look(self, most: int = EVERYTHING) -> Get:
        """Take what there is; a connection that is full (`most` bytes taken) is asked again by the next call."""
        while self._reading is not None and self.now and self.mark is None:
            match self._reading.step(most - len(self.data)):
                case TrickleAnswer() as answer:
                    self.answer = answer
                    if answer.body is not None:
                        self.mark = ReadMark.END
                case ReadMark.WAIT:
                    self.now = False
                case bytes(piece):
                    assert piece
                    self.pieces.append(piece)
                    if len(self.data) >= most:
                        return self
                case mark:
                    self.mark = mark
        if self.mark is not None:
            self.leave()
        return self

    def leave(self) -> None:
        if self._reading is not None:
            self._reading.leave()


class Post(Woken):
    """One POST."""

    def __init__(self, rig: Rig, path: str, *, reset: bool = False) -> None:
        super().__init__()
        self._rig = rig
        self.answer: TrickleAnswer | None = None
        found = ask(rig.channels, "POST", path, self.wake, reset=reset)
        self._upload = found if isinstance(found, Upload) else None
        if isinstance(found, TrickleAnswer):
            self.answer = found

    @property
    def headers(self) -> Mapping[str, str]:
        assert self.answer is not None
        return headers_of(self.answer)

    def look(self) -> Post:
        """Look for an answer before the end of the body."""
        if self._upload is not None and self.answer is None and self.now:
            self.now = False
            self._answered(self._upload.early())
        return self

    def write(self, piece: bytes) -> Took | None:
        """Return what became of it; None = it was answered."""
        assert self._upload is not None
        took = self._upload.take(piece, self._rig.now)
        if isinstance(took, Took):
            self.now = self.now and took is not Took.WAIT
            return took
        self._answered(took)
        return None

    def finish(self) -> Post:
        if self._upload is not None and self.answer is None:
            self._answered(self._upload.end(self._rig.now))
        return self

    def vanish(self) -> None:
        if self._upload is not None:
            self._upload.leave(self._rig.now)

    def _answered(self, answer: TrickleAnswer | None) -> None:
        self.answer = answer
        if answer is not None:
            self.vanish()


@dataclass
class Rig:
    """Channels, of which `a` is there, and a clock that is moved."""

    bounds: Bounds = field(default_factory=Bounds)
    now: float = 1000.0
    channels: Channels = field(init=False)

    def __post_init__(self) -> None:
        self.channels = Channels(self.bounds)
        self.channels.create("a", "video/mp2t", self.now)

    def get(self, word: object, name: str = "a") -> Get:
        return Get(self, f"{name}/{word}").look()

    def post(self, word: object, data: bytes, name: str = "a", *, reset: bool = False) -> Post:
        """Publish a whole segment."""
        upload = Post(self, f"{name}/{word}", reset=reset)
        if data and upload.answer is None:
            upload.write(data)
        return upload.finish()

    def preconnect(self, word: object, name: str = "a", *, reset: bool = False) -> Post:
        return Post(self, f"{name}/{word}", reset=reset).look()

    def delete(self, path: str) -> int:
        answer = ask(self.channels, "DELETE", path, Woken().wake, reset=False)
        assert isinstance(answer, TrickleAnswer)
        return answer.status

    def head(self, name: str = "a") -> int:
        answer = self.get("next", name).answer
        assert answer is not None
        assert answer.body is not None
        assert headers_of(answer)[LATEST] == answer.body.decode()
        return int(answer.body)


__all__ = ["CLOSED", "EVERYTHING", "LATEST", "SEQ", "Get", "Post", "Rig", "Woken", "headers_of"]
