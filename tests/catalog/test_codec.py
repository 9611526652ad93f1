"""Models survive the store exactly, and a broken record tells no secret."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.catalog.codec import dump_model, load_model
from orchd.errors import Code, StoreError
from tests.catalog.helpers import entry, model_of, read

GATEWAY = "0x" + "a" * 40
ENTRIES: list[dict[str, Any]] = [
    entry(),
    entry(profile="ai-runner-live", gpus=["0", "1"], memory="8g", cpus=0.5, entrypoint=["a"], init=True, pull="never"),
    entry(image=..., command=["serve", "{port}"], env={"A": "ü\n"}, token="s3cret", stop={"grace_s": 0.5}),
    entry(
        image=..., url="https://[::1]:9/base", price_per_unit=0.1, currency="USD", pixels_per_unit=3, price_unit="hour"
    ),
    entry(model_id="日本/モデル", price_per_unit=..., health={"kind": "tcp", "ok_codes": [200, 204]}),
]


@pytest.mark.parametrize("fields", ENTRIES)
def test_a_model_comes_back_as_it_was(fields: dict[str, Any]) -> None:
    model = model_of(read(fields, {**fields, "gateway": GATEWAY, "price_per_unit": 1e-9}))
    assert model.gateway_prices
    again = load_model(dump_model(model))
    assert again == model
    assert again.generation == model.generation


@given(st.decimals(min_value=0, max_value=10**20, allow_nan=False, allow_infinity=False, places=9))
def test_prices_stay_exact(price: Any) -> None:
    model = model_of(read(entry(price_per_unit=str(price))))
    assert load_model(dump_model(model)).price == model.price


@pytest.mark.parametrize("broken", ["", "{}", "[]", "nonsense s3cret"])
def test_a_record_that_is_no_model_is_a_store_error(broken: str) -> None:
    with pytest.raises(StoreError) as caught:
        load_model(broken)
    assert caught.value.code is Code.STORE_BROKEN


def test_a_broken_record_tells_no_secret() -> None:
    text = dump_model(model_of(read(entry(token="s3cret", env={"A": "s3cret"}))))
    with pytest.raises(StoreError) as caught:
        load_model(text.replace('"port":8000', '"port":"s3cret"'))
    assert "s3cret" not in str(caught.value) + repr(caught.value)
    assert "port" in str(caught.value)
    assert caught.value.__cause__ is None
