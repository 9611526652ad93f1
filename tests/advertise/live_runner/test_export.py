"""The file for the node, where the doubles are not needed to see it."""

from __future__ import annotations

import json
import tomllib
from fractions import Fraction
from typing import Any

import pytest

from orchd.advertise.export import ExportInput
from orchd.advertise.live_runner.export import export
from orchd.domain.model import Secret
from orchd.domain.offer import NodeProgram
from tests.catalog.helpers import entry, read


def exported(program: NodeProgram, eth_usd: Fraction | None, **fields: Any) -> tuple[str, list[str]]:
    models = tuple(read(entry(**fields)).models.values())
    given = ExportInput(program, models, "i", "{model_id}", "http://127.0.0.1:8737", eth_usd, lambda slug: Secret("s"))
    text, left_out = export(given)
    return text, list(left_out.values())


@pytest.mark.parametrize(
    ("program", "fields", "why"),
    [
        (NodeProgram.LIVEPEER_NODE, {"price_per_unit": ...}, "it has no price_per_unit"),
        (NodeProgram.LIVEPEER_NODE, {"price_per_unit": 7}, "cannot publish the price: "),
        (NodeProgram.LIVEPEER_NODE, {"price_per_unit": 1, "currency": "USD", "price_unit": "720p"}, "720p"),
    ],
)
def test_what_the_node_could_not_charge_for_is_left_out_and_named(
    program: NodeProgram, fields: dict[str, Any], why: str
) -> None:
    text, left_out = exported(program, None, **fields)
    assert "acme/small" not in text
    assert len(left_out) == 1
    assert why in left_out[0]


def test_go_livepeer_takes_a_price_per_720p() -> None:
    text, left_out = exported(NodeProgram.GO_LIVEPEER, None, price_per_unit=1, currency="USD", price_unit="720p")
    assert left_out == []
    assert '"unit": "720p"' in text


def test_a_free_model_is_there_without_a_price() -> None:
    text, left_out = exported(NodeProgram.LIVEPEER_NODE, None, price_per_unit=0)
    assert left_out == []
    assert "PriceInfo" not in text
    assert 'App = "acme/small"' in text


def test_the_file_has_what_clients_choose_by() -> None:
    fields = {"gpu": {"id": "0", "vram_mb": 46068}, "version": "1.2", "metadata": '{"a": "\\u00e9"}'}
    text, _ = exported(NodeProgram.LIVEPEER_NODE, None, price_per_unit=0, **fields)
    [runner] = tomllib.loads(text)["Runners"]
    assert (runner["Version"], runner["Metadata"]) == ("1.2", fields["metadata"])
    assert runner["GPU"] == {"ID": "0", "Name": "", "VRAMMB": 46068}
    text, _ = exported(NodeProgram.GO_LIVEPEER, None, price_per_unit=0, **fields)
    [runner] = json.loads(text)["runners"]
    assert (runner["version"], runner["metadata"]) == ("1.2", fields["metadata"])
    assert runner["gpu"] == {"id": "0", "name": "", "vram_mb": 46068}
