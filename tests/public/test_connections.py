"""How many connections each address may have."""

from __future__ import annotations

import pytest

from orchd.public.connections import AddressLimit
from orchd.public.peers import Peers


class Limited:
    """A limit of two, and how many were refused."""

    def __init__(self, *trusted: str) -> None:
        self.refused = 0
        self.limit = AddressLimit(2, Peers(trusted), self._refuse)

    def _refuse(self) -> None:
        self.refused += 1

    def enters(self, *peers: str) -> list[bool]:
        return [self.limit.enter(object(), peer) for peer in peers]


def test_an_address_has_so_many_and_gets_the_place_of_one_that_is_over() -> None:
    of = Limited()
    first = object()
    assert of.limit.enter(first, "192.0.2.1")
    assert of.enters("192.0.2.1", "192.0.2.1", "192.0.2.2") == [True, False, True]
    assert of.limit.enter(first, "192.0.2.1"), "it is counted already"
    of.limit.leave(first)
    of.limit.leave(first)
    assert of.enters("192.0.2.1", "192.0.2.1") == [True, False]
    assert of.refused == 2


@pytest.mark.parametrize(
    ("peers", "entered"),
    [
        (["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:2:3::"], [True, True, False]),
        (["2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8:1:3::1"], [True, True, True]),
        (["::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.1"], [True, True, False]),
        (["::ffff:192.0.2.1", "::ffff:192.0.2.2", "::ffff:192.0.2.3"], [True, True, True]),
        (["fe80::1%eth0", "fe80::2%eth0", "fe80::3%eth0"], [True, True, False]),
        ([""] * 3, [True] * 3),
    ],
)
def test_a_host_is_one_address_of_ipv4_and_a_64_of_ipv6(peers: list[str], entered: list[bool]) -> None:
    assert Limited().enters(*peers) == entered


def test_a_trusted_proxy_has_any_number() -> None:
    of = Limited("10.0.0.0/8", "2001:db8::/32")
    assert all(of.enters(*["10.1.2.3"] * 9, *["::ffff:10.1.2.3"] * 9, *["2001:db8::1"] * 9))
    assert of.enters("192.0.2.1", "192.0.2.1", "192.0.2.1") == [True, True, False]
