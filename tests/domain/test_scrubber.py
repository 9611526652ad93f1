"""Secrets are taken out of bytes that come in pieces, wherever these are cut."""

from __future__ import annotations

import re
from itertools import pairwise

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
