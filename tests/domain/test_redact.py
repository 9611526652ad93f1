"""Callers are not told where runners are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.redact import without_addresses

ADDRESSES = [
    "http://172.29.0.2:8000/health",
    "https://runner.internal/base/health?x=1",
    "http://[fd00::2]:8000/health",
    "http://127.0.0.1:33013",
    "tcp://10.0.0.5:2375",
    "172.29.0.2:8000",
    "10.0.0.5",
    "[::1]:8000",
    "::1",
    "2001:db8::17",
    "localhost:9000",
    "registry.local:5000/org/image:tag",
]
HOSTS = re.compile(
    r"172\.29|10\.0\.0\.5|127\.0|::1|fd00|db8|localhost|registry\.local|runner\.internal|8000|2375|33013"
)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "text", ["probe: GET {} says 500", "{}: no answer", "no way to {}.", "({})", '"{}", of {}', "{}"]
)
def test_no_address_of_a_machine_is_left(address: str, text: str) -> None:
    assert HOSTS.search(address)
    assert not HOSTS.search(without_addresses(text.replace("{}", address)))


def test_what_is_asked_there_can_still_be_read() -> None:
    text = 'it fails its health probes: probe: GET http://172.29.0.2:8000/health says 500 {"status": "error"}'
    assert without_addresses(text) == 'it fails its health probes: probe: GET /health says 500 {"status": "error"}'


@pytest.mark.parametrize(
    "text",
    [
        "cannot serve llm/llama3:70b: did you mean llm/qwen:14 or std::vector?",
        "it was not ready within 55 s: at 12:30:45, version 1.2.3, 3.5 GiB of 4.0",
        "cannot go on: a/b:c, d:, x.y:1",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert without_addresses(text) == text


@given(st.text(st.sampled_from(list("ab1.:/[]-@ ")), max_size=60))
def test_what_is_without_addresses_stays_so(text: str) -> None:
    once = without_addresses(text)
    assert without_addresses(once) == once
