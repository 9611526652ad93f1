"""No address and no payer gets more than its bucket admits, however many others there are."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from orchd.public.rates import MOST_BUCKETS, TokenBuckets, address_key

KEYS = st.sampled_from(["a", "b", "c", "d", "e"])
WAITS = st.sampled_from([0.0, 0.001, 0.1, 0.5, 1.0, 10.0])


@given(
    st.lists(st.tuples(KEYS, WAITS), max_size=200),
    st.sampled_from([0.5, 1.0, 10.0]),
    st.integers(1, 5),
    st.integers(1, 4),
)
@example([("a", 0.0), ("c", 0.0), ("b", 1.0), ("b", 1.0)], 0.5, 1, 2)  # From the shared bucket, then from its own.
def test_nobody_gets_more_than_the_burst_and_the_rate_since_and_memory_is_bounded(
    requests: list[tuple[str, float]], rate: float, burst: int, most: int
) -> None:
    buckets, now = TokenBuckets(rate, burst, most), 0.0
    admitted: dict[str, list[float]] = {}
    for key, wait_s in requests:
        now += wait_s
        if buckets.take(key, now) == 0.0:
            admitted.setdefault(key, []).append(now)
        assert len(buckets) <= most
    for times in admitted.values():
        for first, begin in enumerate(times):
            for last in range(first, len(times)):
                assert last - first + 1 <= burst + (times[last] - begin) * rate + 1e-6


@given(st.lists(WAITS, max_size=100), st.sampled_from([0.5, 1.0, 10.0]), st.integers(1, 5))
def test_one_who_waits_as_long_as_told_is_admitted(waits: list[float], rate: float, burst: int) -> None:
    buckets, now = TokenBuckets(rate, burst), 0.0
    for wait_s in waits:
        now += wait_s
        if told_s := buckets.take("a", now):
            now += told_s + 1e-9
            assert buckets.take("a", now) == 0.0


def test_a_hundred_thousand_addresses_at_once_take_bounded_memory_and_nothing_of_one_who_asks_regularly() -> None:
    buckets = TokenBuckets(1.0, 3)
    admitted = sum(buckets.take(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}", 0.0) == 0.0 for n in range(100_000))
    assert len(buckets) == MOST_BUCKETS
    assert admitted == MOST_BUCKETS + 3, "those beyond share one bucket"
    assert buckets.take("10.0.0.0", 0.0) == 0.0, "the first of them has its own still"
    now = 3.0  # Those that are full again make room.
    assert all(buckets.take(f"192.0.2.{n}", now) == 0.0 for n in range(200))
    assert len(buckets) == MOST_BUCKETS


def test_how_long_one_would_wait_can_be_asked_for_nothing() -> None:
    buckets = TokenBuckets(2.0, 1)
    assert [buckets.wait_s("a", 0.0) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert buckets.take("a", 0.0) == 0.0
    assert buckets.wait_s("a", 0.0) == buckets.take("a", 0.0) == 0.5
    assert len(buckets) == 1


def test_a_host_is_one_address_of_ipv4_and_a_64_of_ipv6() -> None:
    assert address_key("192.0.2.1") == "192.0.2.1"
    assert address_key("2001:db8:1:2:3:4:5:6") == address_key("2001:db8:1:2::") != address_key("2001:db8:1:3::")
    assert address_key("") == ""
