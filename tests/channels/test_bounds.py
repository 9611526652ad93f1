"""What the channels may hold, and who gives when it is short."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from orchd.channels.bounds import Bounds
from orchd.channels.channels import TooManyChannels
from orchd.channels.reading import ReadMark
from orchd.channels.upload import Took
from tests.channels.rig import SEQ, Get, Post, Rig


def rig_with(*names: str, segment: int = 10, channel: int = 30, everything: int = 60) -> Rig:
    rig = Rig(Bounds(channels=4, segment_bytes=segment, channel_bytes=channel, all_bytes=everything))
    for name in names:
        rig.channels.create(name, "text/plain", rig.now)
    return rig


def status(upload: Post) -> int | None:
    return upload.answer.status if upload.answer else None


def test_there_are_only_so_many_channels_and_a_removed_one_makes_room() -> None:
    rig = rig_with("b", "c", "d")
    with pytest.raises(TooManyChannels):
        rig.channels.create("e", "text/plain", rig.now)
    assert rig.channels.create("a", "text/plain", rig.now) is rig.channels.get("a")
    rig.delete("b")
    rig.channels.create("e", "text/plain", rig.now)
    assert len(rig.channels) == 4


@pytest.mark.parametrize("sizes", [(0, 1, 1), (2, 1, 3), (1, 3, 2)])
def test_bounds_that_hold_no_segment_are_refused(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="must fit into a channel"):
        Bounds(segment_bytes=sizes[0], channel_bytes=sizes[1], all_bytes=sizes[2])


def test_a_segment_that_grows_too_long_ends_there() -> None:
    rig = rig_with()
    upload = rig.preconnect(0)
    upload.write(bytes(10))
    reading = rig.get(0)
    assert upload.write(b"x") is None
    assert (status(upload), upload.headers[SEQ], upload.headers["Connection"]) == (413, "0", "close")
    assert (reading.look().data, reading.mark, rig.head()) == (bytes(10), ReadMark.END, 1)
    assert rig.post(-1, b"x").headers[SEQ] == "1"


def test_the_length_counts_what_several_writers_bring() -> None:
    rig = rig_with()
    one, two = rig.preconnect(0), rig.preconnect(0)
    one.write(bytes(6))
    assert two.write(bytes(5)) is None
    assert (status(two), status(one)) == (413, None)


def test_what_is_read_and_lost_is_bounded_too() -> None:
    rig = rig_with()
    rig.post(0, b"x")
    upload = Post(rig, "a/0")
    assert upload.write(bytes(10)) is Took.TAKEN
    assert upload.write(b"x") is None
    assert (status(upload), rig.get(0).data, rig.channels.size) == (413, b"x", 1)


def test_a_channel_that_is_full_loses_its_oldest_segments() -> None:
    rig = rig_with()
    for seq in range(4):
        rig.post(seq, bytes(10))
    assert [rig.get(seq).status for seq in range(4)] == [470, 200, 200, 200]
    assert rig.channels.size == 30


def test_slow_readers_of_old_segments_are_cut_off_first() -> None:
    rig = rig_with()
    rig.post(0, bytes(10))
    slow = Get(rig, "a/0").look(most=3)
    for seq in range(1, 6):
        rig.post(seq, bytes(4))
    assert (slow.mark, rig.channels.size) == (None, 30)
    rig.post(6, bytes(5))
    assert (slow.look().mark, slow.data) == (ReadMark.CUT, bytes(3))
    assert [rig.get(seq).status for seq in range(2, 7)] == [200] * 5


def test_a_reader_that_has_begun_is_cut_off_and_one_that_has_not_goes_on_at_the_head() -> None:
    rig = rig_with()
    rig.post(0, bytes(10))
    begun, late = Get(rig, "a/0").look(most=1), Get(rig, "a/0")
    for seq in range(1, 4):
        rig.post(seq, bytes(10))
    assert begun.look().mark is ReadMark.CUT
    assert late.look().status == 470
    assert late.headers["Lp-Trickle-Latest"] == "4"


def test_the_channel_that_holds_most_gives_for_one_that_holds_less() -> None:
    rig = rig_with("b", "c", everything=50)
    for seq in range(3):
        rig.post(seq, bytes(10))
    rig.post(0, bytes(10), "b")
    rig.post(0, bytes(10), "c")
    rig.post(1, bytes(10), "b")
    assert [rig.get(seq).status for seq in range(3)] == [470, 200, 200]
    assert [rig.get(0, name).status for name in ("b", "c")] == [200, 200]
    assert rig.channels.size == 50


def test_what_is_read_of_a_removed_channel_counts_and_gives() -> None:
    rig = rig_with("b", "c", everything=30)
    rig.post(0, bytes(10))
    rig.post(1, bytes(10))
    slow = [Get(rig, f"a/{seq}").look(most=1) for seq in (0, 1)]
    rig.delete("a")
    rig.channels.tick(rig.now)
    assert rig.channels.size == 20
    rig.post(0, bytes(10), "b")
    rig.post(0, bytes(10), "c")
    assert rig.channels.size == 30
    assert [reader.look().mark for reader in slow] == [ReadMark.CUT, ReadMark.END]
    assert slow[1].data == bytes(10)
    assert rig.channels.size == 20


def test_an_upload_waits_while_all_that_is_held_is_being_written() -> None:
    rig = rig_with(everything=30)
    writers = [rig.preconnect(seq) for seq in range(4)]
    for writer in writers[:3]:
        assert writer.write(bytes(10)) is Took.TAKEN
    assert writers[3].write(bytes(10)) is Took.WAIT
    assert not writers[3].now
    writers[0].finish()
    assert writers[3].now
    assert writers[3].write(bytes(10)) is Took.TAKEN
    assert (rig.get(0).status, rig.get(3).data) == (470, bytes(10))


def test_an_upload_that_waited_too_long_is_refused_and_its_readers_end() -> None:
    rig = rig_with(everything=30)
    for seq in range(3):
        rig.preconnect(seq).write(bytes(10))
    upload, reading = rig.preconnect(3), rig.get(3)
    assert upload.write(b"x") is Took.WAIT
    rig.now += rig.bounds.room_wait_s - 0.1
    assert upload.write(b"x") is Took.WAIT
    rig.now += 0.1
    assert upload.write(b"x") is None
    assert (status(upload), upload.headers["Connection"]) == (503, "close")
    assert (reading.look().status, reading.data, rig.head()) == (200, b"", 4)


def test_each_wait_for_room_is_bounded_by_itself() -> None:
    rig = rig_with(segment=20)
    others = [rig.preconnect(seq) for seq in range(2)]
    for other in others:
        other.write(bytes(15))
    upload = rig.preconnect(2)
    assert upload.write(b"x") is Took.WAIT
    rig.now += rig.bounds.room_wait_s - 0.1
    others[0].finish()
    assert upload.write(bytes(15)) is Took.TAKEN
    rig.now += 60
    assert upload.write(b"x") is Took.WAIT


def test_an_upload_that_leaves_while_it_waits_is_forgotten() -> None:
    rig = rig_with(channel=10, everything=10)
    rig.preconnect(0).write(bytes(10))
    upload = rig.preconnect(1)
    assert upload.write(b"x") is Took.WAIT
    upload.vanish()
    rig.delete("a")
    assert not upload.now
    assert rig.channels.size == 0


def crowded() -> tuple[Rig, list[Post]]:
    """Return channels that are full of what one session, of `a` and `b`, is writing; `c` and `d` are of others."""
    rig = rig_with("b", everything=30)
    for name in "cd":
        rig.channels.create(name, "text/plain", rig.now, session=name)
    writers = [rig.preconnect(0), rig.preconnect(0, "b"), rig.preconnect(1, "b"), rig.preconnect(2, "b")]
    for writer, size in zip(writers, (8, 9, 10, 3), strict=True):
        assert writer.write(bytes(size)) is Took.TAKEN
    return rig, writers


def test_a_session_within_its_share_takes_the_largest_segment_that_who_holds_most_is_writing() -> None:
    rig, writers = crowded()
    begun, late = rig.get(1, "b"), Get(rig, "b/1")
    assert rig.post(0, bytes(10), "c").headers == {SEQ: "0"}
    assert (begun.look().mark, late.look().status) == (ReadMark.CUT, 470)
    assert [status(writer.look()) for writer in writers] == [None, None, 503, None]
    assert (writers[2].headers[SEQ], writers[2].headers["Connection"]) == ("1", "close")
    assert (rig.channels.size, rig.channels.refused) == (30, 1)
    assert [status(writer.finish()) for writer in writers] == [200, 200, 503, 200]
    assert rig.get(0, "c").data == bytes(10)


@pytest.mark.parametrize("goes_on", [partial(Post.write, piece=b"x"), Post.finish, Post.look])
def test_whose_segment_is_given_up_is_refused_however_it_goes_on(goes_on: Callable[[Post], object]) -> None:
    rig, writers = crowded()
    second = rig.preconnect(1, "b")
    rig.post(0, bytes(10), "c")
    for writer in (writers[2], second):
        goes_on(writer)
        assert status(writer) == 503
    assert (rig.channels.size, rig.channels.refused) == (30, 2)
    writers[0].finish()
    assert rig.post(1, b"again", "b").headers[SEQ] == "1"
    assert rig.get(1, "b").data == b"again"


def test_who_was_late_for_a_segment_that_is_given_up_is_told_no_error() -> None:
    rig, _ = crowded()
    rig.delete("b/1")
    late = Post(rig, "b/1")
    assert late.write(b"late") is Took.TAKEN
    rig.post(0, bytes(10), "c")
    assert status(late.look()) is None
    assert status(late.finish()) == 200


def test_a_session_above_its_share_waits_and_takes_nothing_from_one_within() -> None:
    rig, writers = crowded()
    rig.post(0, bytes(10), "c")
    assert writers[3].write(b"x") is Took.WAIT
    rig.now += rig.bounds.room_wait_s
    assert writers[3].write(b"x") is None
    assert (status(writers[3]), len(rig.get(0, "c").data)) == (503, 10)


def test_a_session_above_its_share_gives_what_it_has_finished_itself() -> None:
    rig, writers = crowded()
    for seq, size in enumerate((10, 5, 5)):
        rig.post(seq, bytes(size), "c")
    assert [rig.get(seq, "c").status for seq in range(3)] == [470, 200, 200]
    assert [status(writer.look()) for writer in writers] == [None, 503, 503, None]


def test_what_is_finished_above_a_share_gives_before_what_is_being_written() -> None:
    rig, writers = crowded()
    writers[3].finish()
    assert status(rig.post(0, bytes(3), "c")) == 200
    assert [status(writer.look()) for writer in writers[:3]] == [None] * 3
    assert rig.get(2, "b").status == 470


def test_a_session_alone_may_use_all() -> None:
    rig, _ = crowded()
    assert rig.channels.size == rig.bounds.all_bytes


def test_what_is_read_of_removed_channels_counts_for_their_session_and_as_one_share() -> None:
    rig = rig_with(everything=30)
    for name in "bcb":
        rig.channels.create(name, "text/plain", rig.now, session="b")
        rig.post(0, bytes(10), name)
        Get(rig, f"{name}/0").look(most=1)
        rig.delete(name)
        rig.channels.tick(rig.now)
    writer = rig.preconnect(0)
    assert [writer.write(bytes(5)), writer.write(bytes(5))] == [Took.TAKEN] * 2
    assert rig.post(1, bytes(5)).headers == {SEQ: "1"}
    assert rig.get(0).data + rig.get(1).data == bytes(15)
    assert rig.channels.moved_at("b") is None


def test_small_pieces_take_no_more_room_than_their_bytes() -> None:
    rig = rig_with(segment=5000, channel=5000, everything=5000)
    upload = rig.preconnect(0)
    for _ in range(5000):
        upload.write(b"x")
    assert rig.get(0).pieces == [bytes(b"x" * 5000)]


def test_requests_at_once_are_bounded_for_a_session_and_in_all_and_who_leaves_gives_its_place_back() -> None:
    rig = Rig(Bounds(requests=3, session_requests=2))
    for name, session in (("a1", "one"), ("a2", "one"), ("b", "two")):
        rig.channels.create(name, "text/plain", rig.now, session=session)
    reader, writer = rig.get(-1, "a1"), rig.preconnect(0, "a2")
    for busy in (rig.get(-1, "a1"), rig.preconnect(0, "a1")):
        assert busy.answer is not None
        assert (busy.answer.status, busy.headers["Retry-After"]) == (503, "1")
    assert rig.get(-1, "b").answer is None
    assert rig.get(-1, "b").status == 503
    assert rig.channels.requests == 3
    reader.leave()
    reader.leave()
    assert rig.get(-1, "b").answer is None
    rig.delete("a2")
    writer.look()
    assert (rig.channels.requests, rig.channels.refused) == (2, 3)


def test_questions_that_are_answered_at_once_count_nowhere() -> None:
    rig = Rig(Bounds(requests=1))
    waiting = rig.get(-1)
    assert (rig.head(), rig.delete("a/0"), waiting.look().status) == (0, 200, 200)


def test_who_waits_for_room_is_woken_to_see_how_long() -> None:
    rig = Rig(Bounds(segment_bytes=8, channel_bytes=8, all_bytes=8))
    full, waiting = rig.preconnect(0), rig.preconnect(1)
    full.write(b"12345678")
    assert waiting.write(b"x") is Took.WAIT
    assert not waiting.now
    rig.now += rig.bounds.room_wait_s
    rig.channels.tick(rig.now)
    assert waiting.now
    waiting.write(b"x")
    assert waiting.answer is not None
    assert (waiting.answer.status, rig.channels.refused) == (503, 1)
