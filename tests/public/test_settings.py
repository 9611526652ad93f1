"""The section `[public]`: what can be meant, and what can't."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from orchd.public.settings import PublicSettings


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("", ""),
        ("https://ai.example.org", "https://ai.example.org"),
        ("https://AI.Example.org:443/", "https://ai.example.org"),
        ("https://192.0.2.1:8443", "https://192.0.2.1:8443"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
    ],
)
def test_an_origin_is_kept_as_clients_write_it(url: str, meant: str) -> None:
    assert PublicSettings(url=url).url == meant


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": "http://ai.example.org"}, "https, a host"),
        ({"url": "https://ai.example.org/path"}, "https, a host"),
        ({"url": "https://u:s3cret@ai.example.org"}, "https, a host"),
        ({"url": "https://ai.example.org?x"}, "https, a host"),
        ({"url": "https://ai.example.org:0"}, "https, a host"),
        ({"url": "https://ai.example.org:99999"}, "https, a host"),
        ({"url": "https://a b"}, "https, a host"),
        ({"url": "ai.example.org"}, "https, a host"),
        ({"listen": "8443"}, "it should be host:port"),
        ({"listen": "unix:/run/x"}, "it should be host:port"),
        ({"base_path": "ai"}, "a path of letters"),
        ({"base_path": "/a//b"}, "a path of letters"),
        ({"base_path": "/../x"}, "a path of letters"),
        ({"doors": "byoc,byoc"}, "each door once"),
        ({"doors": "live_runner"}, "'byoc' or 'live-runner'"),
        ({"trusted_proxies": "10.0.0.1/8"}, "an address or a network"),
        ({"trusted_proxies": "proxy.example.org"}, "an address or a network"),
        (
            {"proxy_grants": "10.0.0.5:9000,localhost:9000"},
            "'localhost:9000' can't be granted: it should be an IP address",
        ),
        ({"runner_listen": "8739"}, "it should be host:port"),
        ({"runner_listen": "unix:/run/x"}, "it should be host:port"),
        ({"runner_url": "ftp://host"}, "http or https with a host"),
    ],
)
def test_what_can_t_be_meant_is_refused_in_words(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PublicSettings.model_validate(given)
    assert said in str(caught.value)


def test_texts_are_lists_and_an_empty_one_is_none() -> None:
    settings = PublicSettings.model_validate(
        {"listen": "0.0.0.0:8443, [::]:8443", "doors": "", "trusted_proxies": "10.0.0.0/8,2001:db8::/32"}
    )
    assert settings.listen == ("0.0.0.0:8443", "[::]:8443")
    assert settings.doors == ()
    assert len(settings.trusted_proxies) == 2


def test_a_base_path_ends_without_a_slash() -> None:
    assert PublicSettings(base_path="/ai/v1/").base_path == "/ai/v1"
    assert PublicSettings(base_path="/").base_path == ""
