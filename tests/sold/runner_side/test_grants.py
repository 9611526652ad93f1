"""Which addresses a proxy may dial."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.settings.addresses import read_grant
from orchd.sold.runner_side.grants import METADATA, Grants

EVERYTHING = Grants(["0.0.0.0/0", "::/0"], {8738, 8737})


@pytest.mark.parametrize(
    ("granted", "address", "port"),
    [
        ("10.0.0.5:9000", "10.0.0.5", 9000),
        ("10.0.0.5", "10.0.0.5", 1),
        ("10.0.0.0/8:9000", "10.255.0.1", 9000),
        ("[fd00::5]:9000", "fd00::5", 9000),
        ("fd00::/8", "fd00::5", 9000),
        ("[fd00::/8]:9000", "fd12::", 9000),
        ("127.0.0.1:9000", "127.0.0.1", 9000),
        ("127.0.0.1:9000", "::ffff:127.0.0.1", 9000),
        ("[::ffff:10.0.0.5]:9000", "10.0.0.5", 9000),
        ("::ffff:10.0.0.0/104", "10.0.0.5", 9000),
        ("169.254.169.254", "169.254.169.254", 80),
        ("::1", "::1", 80),
        ("127.0.0.1:8738", "127.0.0.1", 8738),
    ],
)
def test_what_is_named_may_be_dialled(granted: str, address: str, port: int) -> None:
    assert not Grants([], {8738}).allows(address, port)
    assert Grants([granted], {8738}).allows(address, port)


@pytest.mark.parametrize(
    ("granted", "address", "port"),
    [
        ("10.0.0.5:9000", "10.0.0.5", 9001),
        ("10.0.0.5:9000", "10.0.0.6", 9000),
        ("127.0.0.1", "127.0.0.1", 8738),  # A port of orchd's own is named with its address.
        ("127.0.0.1", "127.0.0.2", 9000),
        ("127.0.0.1", "0.0.0.0", 9000),  # The kernel takes it for the host.
        ("127.0.0.1", "::1", 9000),
        ("127.0.0.0/8", "127.0.0.1", 9000),
        ("10.0.0.0/8", "::ffff:127.0.0.1", 9000),
        ("10.0.0.0/8:8738", "10.0.0.5", 8738),
    ],
)
def test_what_is_not_named_may_not(granted: str, address: str, port: int) -> None:
    assert not Grants([granted], {8738}).allows(address, port)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "169.254.1.1", "fe80::1", "fe80::1%eth0", "224.0.0.1"),
        *("255.255.255.255", "240.0.0.1", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"),
        *("64:ff9b::169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", *sorted(map(str, METADATA))),
    ],
)
def test_a_network_grants_no_machine_s_own_address_and_no_metadata(address: str) -> None:
    assert not EVERYTHING.allows(address, 80)


@given(st.ip_addresses(), st.sampled_from([8737, 8738]))
def test_a_network_grants_no_port_of_orchd_s_own(address: object, port: int) -> None:
    assert not EVERYTHING.allows(str(address), port)


@given(st.ip_addresses(v=4), st.integers(1, 65535))
def test_an_address_of_ipv4_is_judged_alike_in_the_clothes_of_ipv6(address: object, port: int) -> None:
    mapped = str(ip_address(f"::ffff:{address}"))
    for grants in (EVERYTHING, Grants(["10.0.0.0/8"]), Grants([str(address)])):
        assert grants.allows(mapped, port) is grants.allows(str(address), port)


@pytest.mark.parametrize(
    "text",
    [
        *("", "localhost", "localhost:9000", "*:9000", "10.0.0.5:0", "10.0.0.5:65536", "10.0.0.5:http", "10.0.0.5/8"),
        *(
            "http://10.0.0.5:9000",
            "10.0.0.5:9000/x",
            "[10.0.0.5",
            "fd00::5]:9000",
            "[fd00::5]9000",
            "127.1",
            "1.2.3.4:",
        ),
        *("[::1]:99999", "10.0.0.0/33", "0x7f.0.0.1", "fe80::1%eth0"),
    ],
)
def test_what_is_no_address_grants_nothing(text: str) -> None:
    with pytest.raises(ValueError, match="it should be an IP address or a network"):
        read_grant(text)
