"""The cases of docs/protocol/trickle.md 13, one by one, and what else its sections 2 to 9 say."""

from __future__ import annotations

import pytest

from orchd.channels.reading import ReadMark
from orchd.channels.upload import Took
from tests.channels.rig import CLOSED, LATEST, SEQ, Get, Post, Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_case_1_a_fresh_channel_has_head_0_and_no_segment_ahead(rig: Rig) -> None:
    assert rig.head() == 0
    ahead = rig.get(2)
    assert (ahead.status, ahead.headers[SEQ], ahead.headers[LATEST]) == (470, "2", "0")
    waiting = rig.get(-1)
    assert waiting.answer is None
    rig.post(0, b"x")
    assert waiting.look().data == b"x"


def test_case_2_a_request_without_a_body_moves_nothing(rig: Rig) -> None:
    waiting = rig.get(-1)
    upload = rig.preconnect(0)
    assert waiting.look().answer is None
    assert (rig.head(), upload.answer) == (0, None)


def test_case_3_readers_get_what_is_there_and_then_each_piece_as_it_comes(rig: Rig) -> None:
    first, upload = rig.get(-1), rig.preconnect(0)
    assert upload.write(b"one") is Took.TAKEN
    assert (first.look().status, first.data, first.headers[SEQ]) == (200, b"one", "0")
    assert LATEST not in first.headers
    assert rig.head() == 1
    late, ahead = rig.get(-2), rig.get(-1)
    assert (late.data, late.headers[LATEST]) == (b"one", "1")
    upload.write(b"two")
    assert (first.look().pieces, late.look().pieces) == ([b"one", b"two"], [b"one", b"two"])
    assert first.mark is None
    upload.finish()
    assert (upload.answer and upload.answer.status, dict(upload.headers)) == (200, {SEQ: "0"})
    assert (first.look().mark, late.look().mark, ahead.look().answer) == (ReadMark.END, ReadMark.END, None)
    rig.post(1, b"three")
    assert (ahead.look().data, ahead.headers[SEQ]) == (b"three", "1")


def test_case_4_five_segments_are_held_and_one_ahead_can_be_awaited(rig: Rig) -> None:
    for seq in range(8):
        rig.post(seq, b"%d" % seq)
    assert rig.get(2).status == 470
    assert rig.get(3).data == b"3"
    waiting = rig.get(8)
    assert waiting.answer is None
    assert (rig.get(9).status, rig.get(9).headers[LATEST]) == (470, "8")


def test_case_5_a_preconnect_evicts_the_oldest(rig: Rig) -> None:
    for seq in range(7):
        rig.post(seq, b"%d" % seq)
    assert rig.get(2).data == b"2"
    rig.preconnect(7)
    assert rig.get(2).status == 470
    assert rig.get(3).data == b"3"


def test_case_6_an_empty_segment_counts_and_is_read_as_empty(rig: Rig) -> None:
    assert dict(rig.post(0, b"").headers) == {SEQ: "0", "Connection": "close"}
    empty = rig.get(0)
    assert (empty.status, empty.data, dict(empty.headers)) == (200, b"", {SEQ: "0", LATEST: "1"})
    assert rig.post(-1, b"x").headers[SEQ] == "1"


def test_case_7_removing_the_channel_ends_whoever_waits(rig: Rig) -> None:
    upload, waiting = rig.preconnect(0), rig.get(0)
    assert rig.delete("a") == 200
    assert dict(upload.look().headers) == {SEQ: "0", CLOSED: "terminated", "Connection": "close"}
    assert (waiting.look().status, waiting.data, waiting.headers[CLOSED]) == (200, b"", "terminated")
    assert (rig.get(0).status, rig.delete("a")) == (404, 400)


def test_case_7_ending_a_segment_ends_whoever_waits_for_it_and_moves_the_head(rig: Rig) -> None:
    upload, waiting = rig.preconnect(0), rig.get(0)
    assert rig.delete("a/0") == 200
    assert dict(upload.look().headers) == {SEQ: "0", "Connection": "close"}
    assert (waiting.look().status, dict(waiting.headers)) == (200, {SEQ: "0", LATEST: "1"})
    assert rig.head() == 1


def test_case_8_a_broken_upload_is_resumed_by_the_next_post(rig: Rig) -> None:
    upload, waiting = rig.preconnect(0), rig.get(0)
    upload.write(b"one")
    upload.vanish()
    assert (waiting.look().data, waiting.mark) == (b"one", None)
    rig.post(0, b"two")
    assert (waiting.look().data, waiting.mark) == (b"onetwo", ReadMark.END)
    assert rig.get(0).data == b"onetwo"


def test_case_9_a_reset_ends_the_readers_of_lower_segments(rig: Rig) -> None:
    upload = rig.preconnect(0)
    upload.write(b"one")
    reading = rig.get(0)
    assert rig.post(-1, b"new", reset=True).headers[SEQ] == "1"
    assert (reading.look().data, reading.mark) == (b"one", ReadMark.END)
    assert (rig.get(0).data, rig.get(1).data) == (b"one", b"new")


def test_case_10_readers_get_the_channels_type(rig: Rig) -> None:
    rig.channels.create("a", "text/other", rig.now)
    rig.post(0, b"x")
    assert rig.get(0).headers["Content-Type"] == "video/mp2t"


def test_case_11_a_slow_reader_keeps_what_it_holds(rig: Rig) -> None:
    big = bytes(range(250)) * 12_000
    rig.post(0, big)
    slow = Get(rig, "a/0").look(most=1000)
    for seq in range(1, 8):
        rig.post(seq, b"x")
    assert slow.data == big[:1000]
    assert (slow.look().data, slow.mark) == (big, ReadMark.END)
    assert rig.get(0).status == 470


def test_case_12_what_comes_for_an_ended_segment_is_lost_and_moves_nothing(rig: Rig) -> None:
    for seq in range(3):
        rig.post(seq, b"old")
    assert dict(rig.post(1, b"new").headers) == {SEQ: "1"}
    assert (rig.get(1).data, rig.head()) == (b"old", 3)


# Beyond section 13.


def test_a_preconnect_to_an_ended_segment_is_told_at_once(rig: Rig) -> None:
    """Its client goes on to the next number before it has lost a byte."""
    rig.post(0, b"x")
    assert dict(rig.preconnect(0).headers) == {SEQ: "0", "Connection": "close"}


def test_two_writers_of_one_segment_append_and_the_first_end_is_its_end(rig: Rig) -> None:
    one, two = rig.preconnect(0), rig.preconnect(0)
    one.write(b"1")
    two.write(b"2")
    reading = rig.get(0)
    one.finish()
    assert (reading.look().data, reading.mark) == (b"12", ReadMark.END)
    two.write(b"3")
    assert dict(two.finish().headers) == {SEQ: "0"}
    assert rig.get(0).data == b"123"


def test_an_upload_that_had_begun_hears_of_the_removal_at_its_end(rig: Rig) -> None:
    upload = rig.preconnect(0)
    upload.write(b"1")
    reading = rig.get(0)
    rig.delete("a")
    assert (reading.look().data, reading.mark) == (b"1", ReadMark.END)
    assert upload.look().answer is None
    assert upload.write(b"2") is Took.TAKEN
    assert dict(upload.finish().headers) == {SEQ: "0", CLOSED: "terminated"}
    assert rig.channels.size == 0


def test_a_segment_that_broke_off_ends_when_nobody_resumes_it(rig: Rig) -> None:
    upload, reading = rig.preconnect(0), rig.get(0)
    upload.write(b"half")
    upload.vanish()
    rig.now += rig.bounds.rejoin_s - 0.1
    rig.channels.tick(rig.now)
    assert reading.look().mark is None
    rig.now += 0.1
    rig.channels.tick(rig.now)
    assert (reading.look().data, reading.mark) == (b"half", ReadMark.END)


def test_a_segment_that_is_resumed_has_no_end_while_it_is_written(rig: Rig) -> None:
    upload, reading = rig.preconnect(0), rig.get(0)
    upload.write(b"half")
    upload.vanish()
    again = rig.preconnect(0)
    rig.now += 60
    rig.channels.tick(rig.now)
    assert reading.look().mark is None
    again.write(b"more")
    again.vanish()
    rig.channels.tick(rig.now)
    assert (reading.look().data, reading.mark) == (b"halfmore", None)


def test_a_segment_without_a_byte_waits_for_its_next_writer(rig: Rig) -> None:
    waiting = rig.get(0)
    rig.preconnect(0).vanish()
    rig.now += 60
    rig.channels.tick(rig.now)
    assert waiting.look().answer is None
    rig.post(0, b"x")
    assert waiting.look().data == b"x"


def test_a_number_that_a_publisher_left_out_ends_with_the_first_byte_of_a_higher_one(rig: Rig) -> None:
    waiting = rig.get(0)
    rig.preconnect(1).write(b"x")
    assert (waiting.look().status, waiting.data, waiting.headers[LATEST]) == (200, b"", "2")


def test_a_number_that_is_still_being_written_goes_on_after_a_higher_one_began(rig: Rig) -> None:
    first = rig.preconnect(0)
    first.write(b"1")
    rig.post(1, b"x")
    reading = rig.get(0)
    first.write(b"2")
    assert (reading.look().data, reading.mark, rig.head()) == (b"12", None, 2)


def test_numbers_may_come_out_of_order(rig: Rig) -> None:
    first = rig.preconnect(0)
    rig.post(1, b"1")
    first.write(b"0")
    first.finish()
    assert (rig.get(0).data, rig.get(1).data, rig.head()) == (b"0", b"1", 2)


def test_a_publisher_that_starts_again_takes_the_channel_over(rig: Rig) -> None:
    for seq in range(7):
        rig.post(seq, b"old")
    waiting = rig.get(7)
    upload = rig.preconnect(0)
    assert rig.head() == 7
    following = rig.preconnect(1)
    upload.write(b"new")
    assert (rig.head(), rig.get(-2).data) == (1, b"new")
    assert (waiting.look().status, waiting.data) == (200, b"")
    assert [rig.get(seq).status for seq in (2, 3, 4, 5, 6)] == [470] * 5
    following.write(b"new 1")
    assert (rig.get(1).data, rig.head()) == (b"new 1", 2)


def test_what_a_former_publisher_still_writes_is_no_longer_found(rig: Rig) -> None:
    for seq in range(6):
        rig.post(seq, b"old")
    former = rig.preconnect(6)
    former.write(b"old")
    rig.post(0, b"new")
    assert (rig.get(6).status, rig.head()) == (470, 1)
    former.write(b"more")
    assert dict(former.finish().headers) == {SEQ: "6"}
    for seq in range(1, 7):
        rig.post(seq, b"new")
    assert rig.get(6).data == b"new"


def test_a_number_is_late_within_the_window_and_a_new_beginning_below_it(rig: Rig) -> None:
    rig.post(7, b"x")
    rig.post(4, b"late")
    assert (rig.head(), rig.get(7).data, rig.get(4).data) == (8, b"x", b"late")
    rig.post(3, b"new")
    assert (rig.head(), rig.get(7).status) == (4, 470)


def test_a_number_far_ahead_evicts_only_its_own_place(rig: Rig) -> None:
    for seq in range(5):
        rig.post(seq, b"%d" % seq)
    rig.post(101, b"far")
    assert rig.head() == 102
    assert (rig.get(0).data, rig.get(1).status) == (b"0", 470)


def test_a_reader_may_be_one_ahead_only_while_nothing_was_written(rig: Rig) -> None:
    ahead = rig.get(1)
    assert ahead.answer is None
    rig.post(0, b"0")
    assert rig.get(2).status == 470
    rig.post(1, b"1")
    assert ahead.look().data == b"1"


def test_a_reader_that_is_first_gets_what_its_writer_brings(rig: Rig) -> None:
    waiting = rig.get(0)
    waiting.leave()
    assert rig.get(-1).answer is None
    rig.post(0, b"x")
    assert rig.get(0).data == b"x"


def test_after_the_end_of_an_awaited_number_nobody_is_sent_to_one_that_is_over(rig: Rig) -> None:
    rig.get(0)
    rig.delete("a/0")
    assert rig.get(-1).answer is None
    assert rig.post(-1, b"x").headers[SEQ] == "1"


@pytest.mark.parametrize("number", ["-3", "-5", "-1x", "x", "1.0", "+1", "1_0", "٣", " 1", "9" * 19])
def test_a_number_that_is_none_is_refused(rig: Rig, number: str) -> None:
    assert rig.get(number).status == 400
    answer = rig.post(number, b"x").answer
    assert answer is not None
    assert answer.status == 400
    assert rig.delete(f"a/{number}") == 400


def test_words_of_readers_are_no_words_of_writers(rig: Rig) -> None:
    answer = rig.post(-2, b"x").answer
    assert answer is not None
    assert answer.status == 400
    assert (rig.delete("a/-1"), rig.delete("a/next"), rig.delete("a/3")) == (400, 400, 400)


def test_a_head_waits_like_a_get(rig: Rig) -> None:
    waiting = Get(rig, "a/0", "HEAD").look()
    assert waiting.answer is None
    rig.post(0, b"x")
    assert waiting.look().headers["Content-Type"] == "video/mp2t"
    assert Get(rig, "a/next", "HEAD").status == 200


@pytest.mark.parametrize("path", ["", "a/", "/0", "a/0/0", "a//0"])
def test_other_paths_are_unknown(rig: Rig, path: str) -> None:
    assert Get(rig, path).status == 404


def test_an_escaped_slash_is_part_of_the_name(rig: Rig) -> None:
    rig.channels.create("b/c", "text/plain", rig.now)
    rig.post(0, b"x", "b%2Fc")
    assert rig.get(0, "b%2fc").data == b"x"


def test_a_channel_that_is_made_again_begins_at_0(rig: Rig) -> None:
    rig.post(0, b"x")
    rig.delete("a")
    rig.channels.create("a", "text/plain", rig.now)
    assert (rig.head(), rig.get(0).answer) == (0, None)


def test_only_channels_with_a_limit_are_removed_when_idle(rig: Rig) -> None:
    rig.channels.create("b", "text/plain", rig.now, idle_s=300)
    upload = Post(rig, "b/0")
    for _ in range(3):
        rig.now += 300
        assert rig.channels.tick(rig.now) == []
        upload.write(b"x")
    upload.finish()
    waiting = rig.get(1, "b")
    rig.now += 300.5
    assert rig.channels.tick(rig.now) == ["b"]
    assert waiting.look().headers[CLOSED] == "terminated"
    assert (rig.head(), rig.get(0, "b").status) == (0, 404)
