"""The JSON Schema of `aiModels.json`, for editors: it takes what `orchd check --strict` takes, and refuses the rest.

What no schema can say is left to `orchd check`: relations between numbers (sessions and replicas), a length in
bytes, a field that is written twice, rows of the same model, and the content of files that an entry names. Pure.
"""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from orchd.catalog.golivepeer import KEYS as NODE_KEYS
from orchd.catalog.launch import KINDS, MISPLACED
from orchd.catalog.names import camel, squash
from orchd.catalog.parse import MAX_ENTRIES
from orchd.catalog.schema import Entry

Schema = dict[str, Any]

COMMENT = "^(?:_|//)"
REQUIRED = ("pipeline", "model_id")


class _Readable(GenerateJsonSchema):
    """Leaves it to `_nullable` to say that a field may be absent."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])


def json_schema() -> Schema:
    """Return the JSON Schema (draft 2020-12) of the whole file."""
    entry = Entry.model_json_schema(schema_generator=_Readable)
    parts = entry.pop("$defs")
    parts = {"Entry": entry, **parts}
    for title, part in parts.items():
        part.pop("title", None)
        if "properties" in part:
            _any_spelling(title, part)
    entry["allOf"] = _rules()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "aiModels.json",
        "description": "Models that orchd runs, limits and serves. Fields may be written in camelCase or snake_case.",
        "type": "array",
        "maxItems": MAX_ENTRIES,
        "items": {"$ref": "#/$defs/Entry"},
        "$defs": parts,
    }


def _any_spelling(title: str, part: Schema) -> None:
    """Let a part take its fields in all spellings, notes, and nothing else.

    Snake_case and camelCase are listed, for an editor to propose; others are taken too.
    """
    patterns: Schema = {COMMENT: {}}
    for name, given in list(part["properties"].items()):
        given.pop("title", None)
        field = given if name in REQUIRED else _nullable(given)
        part["properties"][name] = field
        patterns[spelled(name)] = {"$ref": f"#/$defs/{title}/properties/{name}"}
        if (other := camel(name)) != name:
            part["properties"][other] = {**field, "description": f"same as {name}"}
    part["patternProperties"] = patterns
    part["additionalProperties"] = False


def _nullable(field: Schema) -> Schema:
    """Return the schema of a field that may be null, which is as good as absent."""
    kind = field.get("type")
    if "enum" in field or "const" in field:
        field = {**field, "enum": [*field.get("enum", [field.get("const")]), None]}
        field.pop("const", None)
    if kind is not None:
        return {**field, "type": [*([kind] if isinstance(kind, str) else kind), "null"]}
    outside: Schema = {name: field[name] for name in ("description", "examples") if name in field}
    inside = {name: item for name, item in field.items() if name not in outside}
    options = inside["anyOf"] if [*inside] == ["anyOf"] else [inside]
    return {**outside, "anyOf": [*options, {"type": "null"}]}


def spelled(name: str) -> str:
    """Return the pattern of all spellings of a field: any case, any underscores but at the start."""
    return "^" + "_*".join(f"[{letter}{letter.upper()}]" for letter in squash(name)) + "_*$"


def _rules() -> list[Schema]:
    """Return what holds between the fields of an entry."""
    foreign = "|".join("".join(f"[{c}{c.upper()}]" if c.isalpha() else c for c in key) for key in NODE_KEYS)
    left_to_node = {"patternProperties": {f"^(?!_|//|(?:{foreign})$)": {"type": "null"}}}
    not_run = {"not": {"patternProperties": {spelled("run"): {"not": {"const": False}}}}}
    return [
        *({"anyOf": [{"required": [name]}, _present(name)]} for name in REQUIRED),
        *(
            {"if": _present(kind), "then": _absent(*KINDS[number:], *MISPLACED[kind])}
            for number, kind in enumerate(KINDS, start=1)
        ),
        {"if": _present("token"), "then": _absent("token_file")},
        {"if": {"anyOf": [*map(_present, KINDS), not_run, _present("gateway")]}, "else": left_to_node},
    ]


def _present(name: str) -> Schema:
    return {"not": {"patternProperties": {spelled(name): {"type": "null"}}}}


def _absent(*names: str) -> Schema:
    return {"patternProperties": {spelled(name): {"type": "null"} for name in names}}
