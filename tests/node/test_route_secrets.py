"""What only the node knows: tokens that change and are never refused for it, and path segments."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.node.route_secrets import RouteSecrets, new_key

KEY = "11" * 32
HOUR = 3600.0
SLUG = "image-org-one-0123abcd"


class Clock:
    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def made(clock: Clock | None = None, key: str = KEY) -> RouteSecrets:
    return RouteSecrets(key, HOUR, clock or Clock())


def given_out(secrets: RouteSecrets, slug: str = SLUG) -> bytes:
    """The token of now, which the node has taken."""
    period = secrets.period()
    secrets.told(slug, period)
    return secrets.token(slug, period).value.encode()


def test_a_key_is_random_and_of_256_bits() -> None:
    assert new_key() != new_key()
    assert re.fullmatch("[0-9a-f]{64}", new_key())


def test_secrets_are_long_and_differ_by_model_period_purpose_and_key() -> None:
    one, other = made(), made(key="22" * 32)
    values = [
        *(secrets.token(slug, period) for secrets in (one, other) for slug in ("a", "b") for period in (1, 2)),
        *(secrets.segment(slug) for secrets in (one, other) for slug in ("a", "b")),
    ]
    assert len({secret.value for secret in values}) == len(values) == 12
    assert all(re.fullmatch("[a-z2-7]{52}", secret.value) for secret in values), "256 bits, safe in paths and headers"


def test_an_orchd_that_starts_again_knows_what_the_node_was_told() -> None:
    token, segment = given_out(made()), made().segment(SLUG).value.encode()
    assert made().admits(SLUG, token)
    assert made().knows_segment(SLUG, segment)


@pytest.mark.parametrize("wrong", [b"", b"x", b"\xff\x80", b"a" * 52])
def test_what_was_never_given_out_is_not_known(wrong: bytes) -> None:
    secrets = made()
    token, segment = given_out(secrets), secrets.segment(SLUG).value.encode()
    for presented in (wrong, token[:-1], token + b"a", token.upper(), segment, given_out(secrets, "another")):
        assert not secrets.admits(SLUG, presented)
    for presented in (wrong, segment[:-1], token, secrets.segment("another").value.encode()):
        assert not secrets.knows_segment(SLUG, presented)


def test_a_token_stays_good_until_the_node_was_told_the_next_but_one() -> None:
    clock = Clock()
    secrets = made(clock)
    first = given_out(secrets)
    clock.now += 100 * HOUR
    assert secrets.admits(SLUG, first), "the node has no other"
    second = given_out(secrets)
    assert secrets.admits(SLUG, first), "a job that the node sent a moment ago"
    assert secrets.admits(SLUG, second)
    given_out(secrets)
    assert secrets.admits(SLUG, first), "told the same once more"
    clock.now += HOUR
    given_out(secrets)
    assert secrets.admits(SLUG, second)
    assert not secrets.admits(SLUG, first)


def test_a_clock_that_steps_back_costs_no_job() -> None:
    clock = Clock()
    secrets = made(clock)
    token = given_out(secrets)
    clock.now -= 5 * HOUR
    assert secrets.admits(SLUG, token)


@settings(max_examples=100)
@given(st.lists(st.tuples(st.floats(0, 3 * HOUR), st.booleans(), st.booleans()), max_size=20))
def test_what_the_node_has_is_admitted_at_any_time(steps: list[tuple[float, bool, bool]]) -> None:
    """However late it is told a new one; a new orchd tells it at once, and knows what is at most a period old."""
    clock = Clock()
    secrets = made(clock)
    token, period = given_out(secrets), secrets.period()
    for passes_s, tells, starts_again in steps:
        clock.now += passes_s
        assert secrets.admits(SLUG, token)
        before, age = token, secrets.period() - period
        if starts_again:
            secrets = made(clock)
            assert secrets.admits(SLUG, token) == (age <= 1)
        if tells or starts_again:
            token, period = given_out(secrets), secrets.period()
            assert secrets.admits(SLUG, before) or (starts_again and age > 1), "a job may be on its way"


def test_nothing_shows_in_a_repr() -> None:
    secrets = made()
    shown = f"{secrets!r} {secrets.token(SLUG, 1)!r} {secrets.segment(SLUG)} {secrets.token(SLUG, 1)}"
    assert secrets.token(SLUG, 1).value not in shown
    assert secrets.segment(SLUG).value not in shown
    assert KEY not in shown
