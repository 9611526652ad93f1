"""What a proxy leads to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import Address
from orchd.sold.runner_side.proxies import ProxyTarget, new_proxy_id, read_target


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://127.0.0.1:9902/base?k=1", ProxyTarget(Address("127.0.0.1", 9902, "http", "/base"), "k=1")),
        ("http://127.0.0.1", ProxyTarget(Address("127.0.0.1", 80))),
        ("https://[::1]/a/", ProxyTarget(Address("::1", 443, "https", "/a"))),
        ("HTTP://Host.Example:81//x", ProxyTarget(Address("host.example", 81, "http", "//x"))),
        ("http://me:pass@10.0.0.5:80/", ProxyTarget(Address("10.0.0.5", 80))),  # No credential is made of that.
        ("http://127.1:9000", ProxyTarget(Address("127.1", 9000))),  # Whatever it means is judged when it is dialled.
    ],
)
def test_a_target_is_an_absolute_url(url: str, target: ProxyTarget) -> None:
    assert read_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        *("x", "/x", "//host/x", "", "ftp://host/", "http://", "http:///x", "http://host#", "http://host/#x"),
        *("http://ho st/", "http://host/ HTTP/1.1\r\nX: y", "http://host/\n", "http://host\\@10.0.0.1/", "http://h:0/"),
        *(
            "http://host:99999/",
            "http://host:x/",
            "http://[::1",
            "http://hö/",
            "http://host/ü",
            f"http://h/{'x' * 2048}",
        ),
        *("http://[fe80::1%eth0]/", "http://a,b/", "http://%31/", "unix:///run/docker.sock", "file:///etc/passwd"),
    ],
)
def test_anything_else_is_none(url: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_target(url)


@given(st.text(max_size=60))
def test_whatever_a_container_names_nothing_of_it_can_be_added_to_a_head(text: str) -> None:
    try:
        target = read_target(f"http://{text}")
    except ValueError:
        return
    line = f"{target.address.base_path}{target.below('', '')} {target.address.host}"
    assert line.isascii()
    assert line.isprintable()
    assert " " not in target.address.host


@pytest.mark.parametrize(
    ("url", "rest", "query", "there"),
    [
        ("http://h/base?k=1", "deep/er", "y=2", "/base/deep/er?k=1&y=2"),
        ("http://h/base?k=1", "", "", "/base/?k=1"),
        ("http://h", "", "", "/"),
        ("http://h", "a%2Fb", "y=%20", "/a%2Fb?y=%20"),
    ],
)
def test_a_call_goes_below_the_target_byte_for_byte(url: str, rest: str, query: str, there: str) -> None:
    target = read_target(url)
    assert target.address.base_path + target.below(rest, query) == there


def test_nobody_guesses_an_id() -> None:
    ids = {new_proxy_id() for _ in range(1000)}
    assert len(ids) == 1000
    assert {len(id) for id in ids} == {26}
    assert "".join(ids).isalnum()
