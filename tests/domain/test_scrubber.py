"""Secrets are taken out of bytes that come in pieces, wherever these are cut."""

from __future__ import annotations

import re
import sys
from itertools import pairwise
from types import FrameType
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from orchd.domain.redact import Scrubber, scrub

SECRETS = ("abcabcd", "bcdefgh", "sécret")
WORDS = st.sampled_from(
    [*SECRETS, "abc", "abcabc", "bcdefg", "é", "\n", " ", "x", "Bearer ", "bearer", "a" * 20, "-_~", "b"]
)


def scrubbed(text: bytes, cuts: list[int], secrets: tuple[str, ...] = SECRETS) -> bytes:
    scrubber = Scrubber(secrets)
    places = [0, *sorted(cut % (len(text) + 1) for cut in cuts), len(text)]
    parts = [scrubber.feed(text[a:b]) for a, b in pairwise(places)]
    return b"".join(parts) + scrubber.end()


@given(st.lists(WORDS, max_size=12), st.lists(st.integers(0, 200), max_size=8))
@example(["abc", "abcabcd", "efgh"], [3, 9])
def test_no_secret_passes_however_the_text_is_cut(words: list[str], cuts: list[int]) -> None:
    shown = scrubbed("".join(words).encode(), cuts)
    assert not [secret for secret in SECRETS if secret.encode() in shown]
    assert not re.search(rb"\bbearer a{16}", shown, re.IGNORECASE)


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=8))
def test_what_is_no_secret_passes_as_it_is(text: bytes, cuts: list[int]) -> None:
    if b"bearer" not in text.lower() and not any(secret[:6].encode() in text for secret in SECRETS):
        assert scrubbed(text, cuts) == text


@given(st.lists(st.integers(0, 60), max_size=8))
def test_a_bearer_is_taken_out_whole(cuts: list[int]) -> None:
    text = "GET / Authorization: Bearer abcdefghijklmnopqrstuvwxyz.0 next"
    assert scrubbed(text.encode(), cuts, ()) == scrub(text).encode()


def test_a_line_is_shown_at_once() -> None:
    scrubber = Scrubber(SECRETS)
    assert scrubber.feed(b"loading bcd\n") == b"loading bcd\n"
    assert scrubber.feed(b"loading bcd") == b"loading "
    assert scrubber.feed(b"!") == b"bcd!"


def test_the_greater_part_of_a_secret_is_not_shown_at_the_end_either() -> None:
    assert scrubbed(b"it is abcabc", [8]) == b"it is ***"
    assert scrubbed(b"it is abca", [8]) == b"it is abca"


@given(st.permutations(["hunter2", "hunter2-longer", "unter2-longer-still"]))
def test_of_secrets_that_lie_in_one_another_the_longest_is_taken_out_whole(secrets: list[str]) -> None:
    assert scrub("it is hunter2-longer.", secrets) == "it is ***."


@given(st.text("xy", min_size=6, max_size=12), st.text("xy", max_size=20))
def test_what_is_held_back_is_the_longest_beginning_of_a_secret(secret: str, text: str) -> None:
    shown = text.replace(secret, "***")
    longest = max(size for size in range(min(len(secret) - 1, len(shown)) + 1) if shown.endswith(secret[:size]))
    assert Scrubber([secret]).feed(text.encode()).decode() == shown[: len(shown) - longest]


def test_a_long_secret_costs_no_more_steps_than_a_short_one() -> None:
    def steps(secret: str) -> int:
        count = 0

        def trace(_frame: FrameType, event: str, _arg: Any) -> Any:
            nonlocal count
            count += event == "line"
            return trace

        scrubber, before = Scrubber([secret]), sys.gettrace()
        sys.settrace(trace)
        try:
            scrubber.feed(b"a line of a log, nothing else\n" * 2000)
        finally:
            sys.settrace(before)
        return count

    assert steps("x" * 50_000) == steps("x" * 50)
