"""What clients find: the document, its filters, and when it is made again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from orchd.domain.details import NO_DETAILS, Details, Gpu
from orchd.doors.public_live_runner.discovery import FRESH_S, MOST_BYTES, MOST_FILTERS, Discovery, OnSale
from orchd.errors import Code, JobRefused
from orchd.tickets.prices import WorkPrice

SERVICE = "https://ai.example.org/base"
L40S = Details(Gpu("0", "NVIDIA L40S", 46068), "1", '{"a":1}')
TINT = OnSale("tint-1", "live/tint", True, WorkPrice(83333333334), 1, 2, L40S)
ONE = OnSale("one-1", "image/org/one", False, WorkPrice(3 * 10**12, fixed=True), 0, 1, NO_DETAILS)
FREE = OnSale("free-1", "llm/ü", False, WorkPrice(0), 0, 4, Details(Gpu("", "H100", 0)))


class Rig:
    """A document of models that the test sells."""

    def __init__(self, *models: OnSale) -> None:
        self.models, self.looks, self.now = models, 0, 0.0
        self.discovery = Discovery(SERVICE, self.on_sale, lambda: self.now)

    def on_sale(self) -> tuple[OnSale, ...]:
        self.looks += 1
        return self.models

    def runners(self, query: str = "") -> list[dict[str, Any]]:
        (entry,) = json.loads(self.discovery.document(query))
        assert entry.keys() == {"address", "runners"}
        assert entry["address"] == SERVICE
        runners: list[dict[str, Any]] = entry["runners"]
        return runners

    def apps(self, query: str = "") -> list[str]:
        return [runner["app"] for runner in self.runners(query)]


def test_each_model_is_told_as_clients_read_it() -> None:
    assert Rig(TINT, ONE, FREE).runners() == [
        {
            "url": f"{SERVICE}/apps/tint-1/session",
            "app": "live/tint",
            "gpu": {"id": "0", "name": "NVIDIA L40S", "vram_mb": 46068},
            "version": "1",
            "metadata": '{"a":1}',
            "mode": "persistent",
            "capacity": 3,
            "capacity_used": 1,
            "capacity_available": 2,
            "price_info": {"price": 83333333334, "currency": "wei", "unit": "seconds"},
        },
        {
            "url": f"{SERVICE}/apps/one-1/app",
            "app": "image/org/one",
            "mode": "single-shot",
            "capacity": 1,
            "capacity_used": 0,
            "capacity_available": 1,
            "price_info": {"price": 3000000000000, "currency": "wei", "unit": "fixed"},
        },
        {
            "url": f"{SERVICE}/apps/free-1/app",
            "app": "llm/ü",
            "gpu": {"id": "", "name": "H100", "vram_mb": 0},
            "mode": "single-shot",
            "capacity": 4,
            "capacity_used": 0,
            "capacity_available": 4,
        },
    ]


def test_without_models_the_list_is_there_and_empty() -> None:
    assert Rig().discovery.document("") == b'[{"address":"https://ai.example.org/base","runners":[]}]\n'


@pytest.mark.parametrize(
    ("query", "apps"),
    [
        ("app=live/tint", ["live/tint"]),
        ("app=live%2Ftint&app=image/org/one&x=y", ["live/tint", "image/org/one"]),
        ("gpu=NVIDIA+L40S", ["live/tint"]),
        ("gpu=NVIDIA%20L40S&gpu=H100", ["live/tint", "llm/ü"]),
        ("app=llm/%C3%BC&gpu=H100", ["llm/ü"]),
        ("app=llm/\xc3\xbc", ["llm/ü"]),
        ("app=image/org/one&gpu=H100", []),
        ("app=&gpu=", ["live/tint", "image/org/one", "llm/ü"]),
        ("x=%zz&;", ["live/tint", "image/org/one", "llm/ü"]),
    ],
)
def test_filters_leave_out_what_has_another_name_or_gpu(query: str, apps: list[str]) -> None:
    assert Rig(TINT, ONE, FREE).apps(query) == apps


def test_too_many_filters_are_refused() -> None:
    with pytest.raises(JobRefused) as caught:
        Rig(TINT).apps("app=x&" * (MOST_FILTERS + 1))
    assert caught.value.code is Code.BAD_REQUEST


def test_models_are_looked_at_once_a_second_at_most_and_the_document_stands_while_they_are_the_same() -> None:
    rig = Rig(TINT)
    first = rig.discovery.document("")
    rig.models = (replace(TINT, free=1),)
    assert rig.discovery.document("") is first
    assert rig.looks == 1
    rig.now += FRESH_S
    assert rig.runners()[0]["capacity_available"] == 1
    second = rig.discovery.document("")
    rig.now += FRESH_S
    assert rig.discovery.document("") is second
    assert rig.looks == 3


def test_a_document_is_never_longer_than_a_signer_reads() -> None:
    long = replace(ONE, details=Details(metadata="ü" * 512))
    rig = Rig(*(replace(long, slug=f"one-{count}") for count in range(1000)))
    whole = rig.discovery.document("")
    assert len(whole) <= MOST_BYTES
    assert 300 < len(rig.runners()) < 1000
    assert len(whole) + 4000 > MOST_BYTES
