"""The file with the URLs of RPC servers: one a line, and nothing of them but hosts is ever told."""

from __future__ import annotations

import traceback

import pytest

from orchd.domain.model import Secret
from orchd.errors import SettingsError
from orchd.rpc.urls import MOST_URLS, rpc_urls

KEY = "k3y"


def test_urls_are_named_by_host_in_the_order_of_the_lines() -> None:
    lines = [f"https://arb.example.com/v2/{KEY}", "", f"  http://127.0.0.1:8545/{KEY}\r", f"https://u:{KEY}@b.example"]
    urls = rpc_urls(Secret("\n".join(lines)))
    assert [each.name for each in urls] == ["arb.example.com", "127.0.0.1:8545", "b.example"]
    assert [each.url.value for each in urls] == [each.strip() for each in lines if each]
    assert KEY not in repr(urls)


def test_two_urls_of_one_host_have_names_of_their_own_and_a_line_that_stands_twice_counts_once() -> None:
    urls = rpc_urls(Secret("https://a.example/1\nhttps://a.example/2\nhttps://a.example/1\n"))
    assert [each.name for each in urls] == ["a.example", "a.example (2)"]


@pytest.mark.parametrize(
    "line",
    [
        KEY,
        f"ws://h/{KEY}",
        f"http:///{KEY}",
        f"http://[{KEY}",
        f"file:///{KEY}",
        f"http://h:x{KEY}/",
        f"http://h/ {KEY}",
    ],
)
def test_a_line_that_is_no_url_is_named_by_its_number(line: str) -> None:
    with pytest.raises(SettingsError) as raised:
        rpc_urls(Secret(f"https://a.example\n{line}"))
    assert "line 2 of the file in chain.rpc_url_file" in raised.value.message
    assert KEY not in "".join(traceback.format_exception(raised.value))


def test_there_are_some_and_not_too_many() -> None:
    assert len(rpc_urls(Secret("\n".join(f"http://h{number}" for number in range(MOST_URLS))))) == MOST_URLS
    for text in ("\n", "\n".join(f"http://h{number}" for number in range(MOST_URLS + 1))):
        with pytest.raises(SettingsError, match="not 1 to 16"):
            rpc_urls(Secret(text))


def test_without_a_file_it_is_said_what_to_name() -> None:
    with pytest.raises(SettingsError, match=r"name a file with one in chain\.rpc_url_file"):
        rpc_urls(None)
