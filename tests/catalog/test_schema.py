"""The JSON Schema, the example and the reference name the same fields, and the example is good."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from orchd.catalog.names import camel
from orchd.catalog.profiles import PROFILES
from orchd.catalog.schema import SECTIONS, Entry, json_schema
from orchd.domain.model import RunnerKind
from tests.catalog.helpers import errors, read_text

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "aiModels.example.json").read_text()
REFERENCE = (ROOT / "docs" / "aiModels.md").read_text()

FIELDS = {name for name in Entry.model_fields if name not in SECTIONS} | {
    f"{section}.{name}" for section, part in SECTIONS.items() for name in part.model_fields
}


def test_the_example_is_good_and_covers_each_kind_of_entry() -> None:
    reading = read_text(EXAMPLE, files={"caption.env": "A=b", "small-7b.token": "s3cret"})
    assert errors(reading) == []
    models = reading.models.values()
    assert {model.kind for model in models} == set(RunnerKind)
    assert any(model.gateway_prices for model in models)
    assert any(model.replicas > 1 and model.profile == "pytrickle" for model in models)
    assert any(model.price and model.price.currency == "USD" for model in models)
    assert any(model.token for model in models)
    assert any(not model.warm and model.idle_timeout_s != 300 for model in models)
    left = [problem for problem in reading.problems if "left to go-livepeer" in problem.message]
    assert [problem.message for problem in reading.problems] == [left[0].message]


def test_the_reference_names_every_field_and_no_other() -> None:
    tables = [line for line in REFERENCE.splitlines() if line.startswith("| `")]
    named = {found[1] for line in tables if (found := re.match(r"\| `([\w.-]+)` \|", line))}
    assert named == FIELDS | set(PROFILES)


def test_the_schema_knows_every_field_in_both_spellings() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    parts = {"Entry": set(Entry.model_fields), **{part.__name__: set(part.model_fields) for part in SECTIONS.values()}}
    for title, names in parts.items():
        assert set(schema["$defs"][title]["properties"]) == names | set(map(camel, names))


def test_every_field_of_the_schema_is_described_and_every_reference_resolves() -> None:
    schema = json_schema()
    defs = schema["$defs"]
    for part in defs.values():
        for field in part.get("properties", {}).values():
            assert field["description"]
    for reference in re.findall(r'"#/\$defs/(\w+)"', json.dumps(schema)):
        assert reference in defs


def test_bounds_are_in_the_schema_s_own_words() -> None:
    fields = json_schema()["$defs"]["Entry"]["properties"]
    assert (fields["port"]["minimum"], fields["port"]["maximum"]) == (1, 65535)
    assert fields["idle_timeout_s"]["exclusiveMinimum"] == 0


def test_the_example_only_uses_types_that_the_schema_allows() -> None:
    """A full validator would be one more dependency: types and enums are what goes stale."""
    defs = json_schema()["$defs"]
    kinds: dict[str, Any] = {
        "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict
    }  # fmt: skip

    def check(value: Any, field: Any) -> None:
        field = {**defs[field["$ref"].rsplit("/", 1)[1]], **field} if "$ref" in field else field
        types = field.get("type", list(kinds))
        allowed = [kinds[name] for name in ([types] if isinstance(types, str) else types)]
        assert any(isinstance(value, kind) for kind in allowed), (value, field)
        assert value in field.get("enum", [value])
        if isinstance(value, dict):
            for name, item in value.items():
                check(item, field.get("properties", {}).get(name, {}))

    for entry in json.loads(EXAMPLE):
        check(entry, defs["Entry"])
