"""A second trickle channel, written for clarity alone: no wakes, no places, no counters, everything looked up afresh.

It says what each request must be answered, for a server without bounds; `test_random` compares. Source: trickle.md 2 to
6 with the corrections of its section 9.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class Part:
    """What was published under a number."""

    seq: int
    text: bytes = b""
    over: bool = False
    lost: bool = False
    """Another number has its place, or the channel is gone."""
    uploads: int = 0
    broken_at: float | None = None
    """When its last upload vanished in the middle."""

    @property
    def began(self) -> bool:
        return bool(self.text) or self.over


@dataclass(eq=False)
class Sending:
    """An upload. `late` = the part was over when it came: its bytes are nobody's."""

    part: Part
    late: bool
    sent: int = 0


@dataclass(eq=False)
class Receiving:
    """A reader. `head` is the one of its request."""

    part: Part
    head: int


@dataclass
class ModelChannel:
    head: int = 0
    parts: list[Part] = field(default_factory=list)
    gone: bool = False

    def find(self, seq: int) -> Part | None:
        return next((part for part in self.parts if part.seq == seq and not part.lost), None)

    def make(self, seq: int) -> Part:
        for part in self.parts:
            if part.seq % 5 == seq % 5:
                self.lose(part)
        self.parts.append(Part(seq))
        return self.parts[-1]

    @staticmethod
    def lose(part: Part) -> None:
        part.lost = part.over = True

    def read(self, word: int) -> tuple[str, int] | Receiving:
        seq = self.head if word == -1 else max(self.head - 1, 0) if word == -2 else word
        part = self.find(seq)
        if part is None:
            if seq != self.head and not (seq == 1 and self.head == 0):
                return "470", seq
            part = self.make(seq)
        return Receiving(part, self.head)

    def publish(self, word: int, *, reset: bool) -> Sending:
        seq = self.head if word == -1 else word
        if reset:
            for part in self.parts:
                if not part.lost and part.seq < seq:
                    self.close(part)
        part = self.find(seq) or self.make(seq)
        part.uploads += 1
        return Sending(part, late=part.over)

    def close(self, part: Part) -> None:
        self.head = max(self.head, part.seq + 1)
        part.over = True

    def started(self, part: Part) -> None:
        """The first byte, or the end without one."""
        if part.seq <= self.head - 5:
            self.head = 0
            for other in self.parts:
                if other.seq > part.seq and (other.began or not other.uploads):
                    self.lose(other)
        self.head = max(self.head, part.seq + 1)
        for other in self.parts:
            if other.seq < part.seq and not other.uploads:
                other.over = True

    def write(self, upload: Sending, text: bytes) -> None:
        upload.sent += len(text)
        if upload.late or upload.part.lost:
            return
        if not upload.part.began:
            self.started(upload.part)
        upload.part.text += text

    def end(self, upload: Sending) -> None:
        if not upload.late:
            if not upload.part.began and not upload.part.lost:
                self.started(upload.part)
            upload.part.over = True
        upload.part.uploads -= 1

    def vanish(self, upload: Sending, now: float) -> None:
        part = upload.part
        part.uploads -= 1
        if part.text and not part.over and not part.uploads:
            part.broken_at = now

    def remove(self) -> None:
        self.gone = True
        for part in self.parts:
            self.lose(part)

    def pass_time(self, now: float, patience: float) -> None:
        for part in self.parts:
            if part.broken_at is not None and now - part.broken_at >= patience:
                part.broken_at = None
                part.over = part.over or not part.uploads
