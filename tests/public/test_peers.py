"""Whose request it is, whatever a caller claims."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.http1.rules import RequestHead
from orchd.public.peers import MOST_PROXIES, Peers

TRUSTED = ("10.0.0.0/8", "2001:db8::/32", "192.0.2.1")


def head(*values: str, name: bytes = b"X-Forwarded-For") -> RequestHead:
    fields = [(b"Host", b"h"), *((name, value.encode("latin-1")) for value in values)]
    return RequestHead(b"GET", b"/", "1.1", fields)


@pytest.mark.parametrize(
    ("peer", "values", "found"),
    [
        ("203.0.113.9", ["198.51.100.7"], "203.0.113.9"),
        ("10.1.1.1", [], "10.1.1.1"),
        ("10.1.1.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.1.1.1", ["1.1.1.1, 198.51.100.7"], "198.51.100.7"),
        ("10.1.1.1", ["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
        ("10.1.1.1", ["198.51.100.7, 10.2.2.2,192.0.2.1"], "198.51.100.7"),
        ("10.1.1.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("2001:db8::1", ["[2001:470::7]:4711"], "2001:470::7"),
        ("2001:db8::1", ["2001:470::7"], "2001:470::7"),
        ("10.1.1.1", ["10.3.3.3, 10.2.2.2"], "10.3.3.3"),
        ("10.1.1.1", ["198.51.100.7, unknown"], "10.1.1.1"),
        ("10.1.1.1", ["198.51.100.7, unknown, 10.2.2.2"], "10.2.2.2"),
        ("10.1.1.1", [""], "10.1.1.1"),
        ("::ffff:10.1.1.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("::ffff:203.0.113.9", ["198.51.100.7"], "203.0.113.9"),
        ("", ["198.51.100.7"], ""),
    ],
)
def test_the_right_most_address_that_is_no_trusted_proxys_counts(peer: str, values: list[str], found: str) -> None:
    assert Peers(TRUSTED).peer_of(peer, head(*values)) == found


def test_without_trusted_proxies_nobodys_word_counts() -> None:
    assert Peers(()).peer_of("10.1.1.1", head("198.51.100.7")) == "10.1.1.1"


def test_the_name_of_the_header_may_be_written_in_any_case_and_others_do_not_count() -> None:
    assert Peers(TRUSTED).peer_of("10.1.1.1", head("198.51.100.7", name=b"x-forwarded-FOR")) == "198.51.100.7"
    assert Peers(TRUSTED).peer_of("10.1.1.1", head("198.51.100.7", name=b"X-Real-IP")) == "10.1.1.1"


@given(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=200))
def test_what_a_caller_writes_before_never_counts(claimed: str) -> None:
    """A proxy adds to what its caller sent, so all before the last comma is the caller's own word."""
    peers = Peers(TRUSTED)
    assert peers.peer_of("10.1.1.1", head(f"{claimed}, 198.51.100.7")) == "198.51.100.7"
    assert peers.peer_of("10.1.1.1", head(claimed, "198.51.100.7")) == "198.51.100.7"


@given(st.lists(st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60), max_size=5))
def test_whatever_is_sent_the_answer_is_an_address(values: list[str]) -> None:
    ipaddress.ip_address(Peers(TRUSTED).peer_of("10.1.1.1", head(*values)))


def test_a_head_full_of_proxies_is_read_to_a_bound() -> None:
    many = ", ".join(["198.51.100.7", *["10.0.0.1"] * 60_000])
    assert Peers(TRUSTED).peer_of("10.1.1.1", head(many)) == "10.0.0.1"
    few = ", ".join(["198.51.100.7", *["10.0.0.1"] * (MOST_PROXIES - 1)])
    assert Peers(TRUSTED).peer_of("10.1.1.1", head(few)) == "198.51.100.7"
