"""Requests in any order: each is answered as the model says; and with little memory, what is never broken."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.channels.bounds import Bounds
from orchd.channels.reading import ReadMark
from orchd.channels.segment import SegmentState, TrickleSegment
from orchd.channels.upload import Took
from tests.channels.model import ModelChannel, Receiving, Sending
from tests.channels.rig import CLOSED, LATEST, SEQ, Get, Post, Rig
from tests.soak import examples

words = st.one_of(st.integers(-2, 12), st.just(-1), st.integers(0, 3))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("get"), words),
        st.tuples(st.sampled_from(["post", "reset"]), words.filter(lambda word: word != -2)),
        st.tuples(st.sampled_from(["write", "write", "write", "end", "vanish", "leave"]), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.integers(1, 3)),
    ),
    max_size=60,
)
"""What is done, and its number: of a segment, or of one of the requests that are under way."""


class Both:
    """The same done to the channels and to the model, and compared after each step."""

    def __init__(self) -> None:
        self.rig = Rig()
        self.model = ModelChannel()
        self.gets: list[tuple[Get, Receiving]] = []
        self.posts: list[tuple[Post, Sending]] = []
        self.count = 0

    def do(self, what: str, number: int) -> None:
        match what:
            case "get":
                self.begin_get(number)
            case "post" | "reset":
                reset = what == "reset"
                upload = Post(self.rig, f"a/{number}", reset=reset)
                self.posts.append((upload, self.model.publish(number, reset=reset)))
            case "delete":
                part = self.model.find(number)
                assert self.rig.delete(f"a/{number}") == (400 if part is None else 200)
                if part is not None:
                    self.model.close(part)
            case "wait":
                self.rig.now += number
                self.rig.channels.tick(self.rig.now)
                self.model.pass_time(self.rig.now, self.rig.bounds.rejoin_s)
            case "leave" if self.gets:
                self.gets.pop(number % len(self.gets))[0].leave()
            case _ if self.posts:
                self.go_on(what, number % len(self.posts))

    def begin_get(self, word: int) -> None:
        head = self.model.head
        get, expected = self.rig.get(word), self.model.read(word)
        if isinstance(expected, Receiving):
            self.gets.append((get, expected))
        else:
            assert (get.status, get.headers[SEQ], get.headers[LATEST]) == (470, str(expected[1]), str(head))

    def go_on(self, what: str, at: int) -> None:
        post, upload = self.posts[at]
        if what == "write":
            self.count += 1
            text = b"%d," % self.count
            post.write(text)
            self.model.write(upload, text)
            return
        del self.posts[at]
        if what == "vanish":
            post.vanish()
            self.model.vanish(upload, self.rig.now)
        else:
            post.finish()
            self.model.end(upload)
            self.answered(post, upload)

    def answered(self, post: Post, upload: Sending) -> None:
        closed = {CLOSED: "terminated"} if self.model.gone else {}
        hang_up = {} if upload.sent else {"Connection": "close"}
        assert dict(post.headers) == {SEQ: str(upload.part.seq), **closed, **hang_up}

    def compare(self) -> None:
        for post, upload in tuple(self.posts):
            if post.look().answer is not None:
                assert upload.part.over
                assert not upload.sent
                self.answered(post, upload)
                self.posts.remove((post, upload))
                upload.part.uploads -= 1
            else:
                assert upload.sent or not upload.part.over
        for get, reading in tuple(self.gets):
            self.compare_get(get.look(), reading)
        if not self.model.gone:
            assert self.rig.head() == self.model.head

    def compare_get(self, get: Get, reading: Receiving) -> None:
        part = reading.part
        if not part.began:
            assert get.answer is None
            return
        latest = {LATEST: str(reading.head)} if reading.head != part.seq else {}
        if part.text:
            assert dict(get.headers) == {"Content-Type": "video/mp2t", SEQ: str(part.seq), **latest}
        else:
            closed = {CLOSED: "terminated"} if self.model.gone else {}
            assert dict(get.headers) == {SEQ: str(part.seq), LATEST: str(self.model.head), **closed}
        assert get.data == part.text
        assert get.mark is (ReadMark.END if part.over else None)
        if part.over:
            self.gets.remove((get, reading))


@pytest.mark.soak
@settings(max_examples=examples(800), deadline=None)
@given(steps)
def test_requests_in_any_order_are_answered_as_by_the_model(story: list[tuple[str, int]]) -> None:
    both = Both()
    for what, number in story:
        both.do(what, number)
        both.compare()
        channel = both.rig.channels.get("a")
        assert channel is not None
        for segment in channel.segments():
            assert segment.state is SegmentState.WAITING or segment.seq < channel.head
    both.rig.delete("a")
    both.model.remove()
    both.compare()
    assert both.gets == []
    for post, upload in both.posts:
        both.model.end(upload)
        both.answered(post.finish(), upload)
    assert both.rig.channels.size == 0


MOST = ["post"] * 4 + ["write"] * 12
"""What a story has most of: so bytes are short most of the time."""
tight = st.lists(
    st.tuples(
        st.sampled_from(["get", "take", "leave", "post", "write", "end", "vanish", "delete", "wait", "make", *MOST]),
        st.sampled_from("abcd"),
        st.integers(0, 9),
    ),
    min_size=30,  # Shorter ones fill no memory, and are what would come most.
    max_size=120,
)


SESSIONS = {"a": "", "b": "one", "c": "one", "d": "two"}


class Tight:
    """Channels with room for a few bytes, and what was taken for each segment. Two of them are of one session."""

    def __init__(self) -> None:
        self.rig = Rig(Bounds(channels=4, segment_bytes=8, channel_bytes=12, all_bytes=20))
        for name in SESSIONS:
            self.do("make", name, 0)
        self.owners: dict[TrickleSegment, str] = {}
        self.texts: dict[TrickleSegment, bytes] = {}
        self.gets: list[tuple[Get, TrickleSegment]] = []
        self.posts: list[tuple[Post, TrickleSegment, bool]] = []  # True = it came when the segment was over.
        self.count = 0

    def do(self, what: str, name: str, number: int) -> None:
        match what:
            case "make":
                self.rig.channels.create(name, "text/plain", self.rig.now, session=SESSIONS[name])
            case "delete":
                self.rig.delete(name)
            case "wait":
                self.rig.now += number
                self.rig.channels.tick(self.rig.now)
            case "get" | "post":
                self.begin(what, name, number - 1)
            case "take" | "leave" if self.gets:
                self.read_on(what, number % len(self.gets))
            case "write" | "end" | "vanish" if self.posts:
                self.write_on(what, number % len(self.posts))

    def begin(self, what: str, name: str, word: int) -> None:
        channel = self.rig.channels.get(name)
        if channel is None:
            return
        seq = channel.head if word == -1 else word
        request = Get(self.rig, f"{name}/{word}") if what == "get" else Post(self.rig, f"{name}/{word}")
        segment = channel.held(seq)
        if segment is not None:
            self.owners[segment] = SESSIONS[name]
        if segment is None:
            assert request.answer is not None
        elif isinstance(request, Get):
            self.gets.append((request, segment))
        else:
            self.posts.append((request, segment, not segment.is_open))

    def read_on(self, what: str, at: int) -> None:
        get, segment = self.gets[at]
        if what == "leave":
            get.leave()
            del self.gets[at]
            return
        get.look(most=len(get.data) + 2)
        text = self.texts.get(segment, b"")
        if get.status == 200:
            assert get.data == (text if get.mark is ReadMark.END else text[: len(get.data)])
        if get.mark is not None:
            del self.gets[at]

    def write_on(self, what: str, at: int) -> None:
        post, segment, late = self.posts[at]
        if what == "write":
            self.count += 1
            piece = bytes([self.count % 256]) * (self.count % 4 + 1)
            took = self.write_fairly(post, piece, self.owners[segment])
            if took is Took.TAKEN and segment.in_window and not late:
                self.texts[segment] = self.texts.get(segment, b"") + piece
            if post.answer is None:
                return
        elif what == "end":
            post.finish()
        else:
            post.vanish()
        del self.posts[at]

    def write_fairly(self, post: Post, piece: bytes, session: str) -> Took | None:
        """Write: who has a share left need not wait for others, and takes nothing from those within theirs."""
        before = self.held()
        share = self.rig.bounds.all_bytes // len({session, *before})
        took = post.write(piece)
        if before[session] + len(piece) <= min(share, self.rig.bounds.channel_bytes):
            assert took is not Took.WAIT
        after = self.held()
        for other in before:
            assert other == session or before[other] > share or after[other] == before[other]
        return took

    def held(self) -> Counter[str]:
        """Return how many bytes each session holds that holds any."""
        held: Counter[str] = Counter()
        for segment, session in self.owners.items():
            held[session] += len(segment.data)
        return +held

    def check(self) -> None:
        for post, segment, late in tuple(self.posts):
            refused = segment.given_up and not late
            answer = post.look().answer
            if answer is None:
                assert not refused
            else:
                assert answer.status == (503 if refused else 200)
                self.posts.remove((post, segment, late))
        known = [channel for name in "abcd" if (channel := self.rig.channels.get(name)) is not None]
        for channel in known:
            assert sum(len(segment.data) for segment in channel.segments()) <= channel.size <= 12
        assert sum(channel.size for channel in known) <= self.rig.channels.size <= 20


@pytest.mark.soak
@settings(max_examples=examples(800), deadline=None)
@given(tight)
def test_with_little_memory_bounds_hold_and_no_reader_is_deceived(story: list[tuple[str, str, int]]) -> None:
    """What ends as complete is complete; all bytes are counted; when everybody has left, none is held."""
    channels = Tight()
    for what, name, number in story:
        channels.do(what, name, number)
        channels.check()
    for get, _ in channels.gets:
        get.leave()
    for post, _, _ in channels.posts:
        post.vanish()
    for name in "abcd":
        channels.rig.delete(name)
    assert channels.rig.channels.size == 0
