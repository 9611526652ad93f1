"""What `orchd check` says of the listener for payers."""

from __future__ import annotations

import os
import socket
import time
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from orchd.cli.public_doubts import public_doubts, public_refused, unsold
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.public.certificate import LIFE_DAYS, make_certificate
from orchd.settings.tree import Settings
from tests.fakes.models import external_model

NOW = time.time()
GOOD: dict[str, Any] = {"listen": ["127.0.0.1:0"], "doors": ["byoc"], "url": "https://ai.example.org:8443"}


def told(public: dict[str, Any], hooks: str = "tickets") -> tuple[dict[str, str], dict[str, str]]:
    """Return with what orchd does not start, and what is likely to be a mistake."""
    settings = Settings.model_validate({"public": public, "hooks": {"order": [hooks]}})
    return dict(public_refused(settings)), dict(public_doubts(settings))


def doubts(**public: Any) -> dict[str, str]:
    refused, doubtful = told(public)
    assert not refused
    return doubtful


def files(folder: Path, host: str = "ai.example.org", began: float = NOW) -> dict[str, str]:
    """Return settings that name a new certificate and its key."""
    for name, text in zip(("chain.pem", "key.pem"), make_certificate(host, began), strict=True):
        (folder / name).write_bytes(text)
    return {"certificate": str(folder / "chain.pem"), "key": str(folder / "key.pem")}


def test_nothing_is_said_where_it_is_off_or_all_is_well(tmp_path: Path) -> None:
    assert doubts() == {}
    assert doubts(**GOOD) == {}
    assert doubts(**GOOD, **files(tmp_path)) == {}


@pytest.mark.parametrize(
    ("public", "name", "said"),
    [
        ({"doors": ["byoc"]}, "public.doors", "byoc: no address listens for payers"),
        ({"listen": ["127.0.0.1:0"]}, "public.listen", "127.0.0.1:0: no door is open there"),
        (GOOD | {"certificate": "/c.pem", "key": "/k.pem"}, "public.certificate", "/c.pem: No such file"),
        (GOOD | {"certificate": "/c.pem", "key": "/k.pem", "tls": False}, "public.certificate", "it is not used"),
        (
            {"listen": ["127.0.0.1:8443"], "doors": ["byoc"], "url": "https://ai.example.org"},
            "public.url",
            "https://ai.example.org: payers come to port 443, and no address of public.listen (127.0.0.1:8443) has it",
        ),
    ],
)
def test_settings_that_can_t_be_meant_are_told(public: dict[str, Any], name: str, said: str) -> None:
    assert said in doubts(**public)[name]


@pytest.mark.parametrize(
    ("public", "hooks", "name", "said"),
    [
        (GOOD | {"url": ""}, "tickets", "public.doors", "byoc: payers would be told no address"),
        (GOOD | {"certificate": "/c.pem"}, "tickets", "public.certificate", "/c.pem: its key is missing"),
        (GOOD | {"key": "/k.pem"}, "tickets", "public.key", "/k.pem: its certificate is missing"),
        (GOOD, "node-token", "public.doors", "byoc: nobody would be paid"),
    ],
)
def test_settings_with_which_nothing_starts_are_told_as_such(
    public: dict[str, Any], hooks: str, name: str, said: str
) -> None:
    refused, _ = told(public, hooks)
    assert list(refused) == [name]
    assert said in refused[name]


@pytest.mark.parametrize(
    ("host", "began_in_days", "name", "said"),
    [
        ("ai.example.org", -LIFE_DAYS - 29.5, "public.certificate", "it has expired 30d ago"),
        ("ai.example.org", -LIFE_DAYS + 6, "public.certificate", "it is good for 4d only"),
        ("ai.example.org", 3.5, "public.certificate", "it is not good before 2d from now"),
        ("other.example.org", 0, "public.url", "the certificate is for other.example.org, not for ai.example.org"),
    ],
)
def test_a_certificate_that_payers_will_not_take_is_told(
    host: str, began_in_days: float, name: str, said: str, tmp_path: Path
) -> None:
    assert said in doubts(**GOOD, **files(tmp_path, host, NOW + began_in_days * 86400))[name]


def test_a_key_of_another_certificate_is_told(tmp_path: Path) -> None:
    public = files(tmp_path)
    (tmp_path / "key.pem").write_bytes(make_certificate("ai.example.org", NOW)[1])
    assert "the key is not that of the certificate" in doubts(**GOOD, **public)["public.certificate"]


def test_a_port_that_another_program_has_is_told_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = doubts(**GOOD | {"listen": [f"127.0.0.1:{port}"]})["public.listen"]
    assert f"port {port} is taken by " in said
    assert f"(pid {os.getpid()})" in said


@pytest.mark.parametrize(
    "other",
    [{}, {"url": "https://ai.example.org", "tls": False}, {"url": "https://a.org", "trusted_proxies": ["10.0.0.1"]}],
    ids=["the same port", "a proxy speaks TLS", "a proxy is named"],
)
def test_a_port_that_leads_to_orchd_is_no_mistake(other: dict[str, Any]) -> None:
    assert "public.url" not in doubts(**GOOD | {"listen": ["127.0.0.1:8443"]} | other)


def price(currency: Currency, unit: PriceUnit) -> Price:
    return Price(Fraction(1), 1, currency, unit)


WEI_A_SECOND, USD_AN_HOUR = price(Currency.WEI, PriceUnit.SECOND), price(Currency.USD, PriceUnit.HOUR)
VIDEO = price(Currency.WEI, PriceUnit.VIDEO_720P)


@pytest.mark.parametrize(
    ("sold", "orchestrator", "said"),
    [
        (WEI_A_SECOND, {}, ()),
        (None, {}, ()),
        (replace(USD_AN_HOUR, per_unit=Fraction(0)), {}, ()),
        (USD_AN_HOUR, {"eth_usd": "3000"}, ()),
        (USD_AN_HOUR, {}, ("its price is in USD",)),
        (USD_AN_HOUR, {"eth_usd": "3000", "service_url": "127.0.0.1:8935"}, ()),
        (USD_AN_HOUR, {"eth_usd": "feed", "service_url": "127.0.0.1:8935"}, ()),
        (USD_AN_HOUR, {"service_url": "127.0.0.1:8935"}, ("its price is in USD",)),
        (VIDEO, {}, ("price_unit must be second, hour or fixed",)),
    ],
)
def test_a_model_whose_price_no_payer_can_be_told_is_named(
    sold: Price | None, orchestrator: dict[str, str], said: tuple[str, ...]
) -> None:
    model = external_model(price=sold)
    settings = {"public": GOOD, "hooks": {"order": ["tickets"]}, "orchestrator": orchestrator}
    found = [*unsold([model], Settings.model_validate(settings))]
    assert len(found) == len(said)
    assert all(f"cannot sell {model.key}" in each and part in each for each, part in zip(found, said, strict=True))
    assert not [*unsold([model], Settings.model_validate(settings | {"public": {}}))], "nothing is sold by tickets"


def test_a_price_that_no_signer_pays_is_told_where_its_door_is_open() -> None:
    an_hour = Price(Fraction(30), currency=Currency.USD, unit=PriceUnit.HOUR)
    model = external_model(price=an_hour)
    said = {}
    for door in ("byoc", "live-runner"):
        rules = {
            "public": GOOD | {"doors": [door]},
            "hooks": {"order": ["tickets"]},
            "orchestrator": {"eth_usd": "3000"},
        }
        said[door] = [*unsold([model], Settings.model_validate(rules))]
    assert said["byoc"] == []
    [warning] = said["live-runner"]
    assert warning.startswith(f"{model.key}: payable by no signer with default limits at the door live-runner: ")
