"""A small validator of JSON Schema, draft 2020-12: what the schema of `aiModels.json` uses, and no more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

Schema = Mapping[str, Any]

ANNOTATIONS = {"$schema", "$defs", "title", "description", "examples", "writeOnly", "default"}


def accepts(root: Schema, value: Any) -> bool:
    """Return whether the schema takes a value.

    Raises:
        NotImplementedError: it has a keyword that is not known here.
    """
    return _accepts(root, root, value)


def _accepts(root: Schema, schema: Schema, value: Any) -> bool:
    return all(_holds(root, schema, keyword, rule, value) for keyword, rule in schema.items())


def _holds(root: Schema, schema: Schema, keyword: str, rule: Any, value: Any) -> bool:
    def ok(sub: Schema, item: Any) -> bool:
        return _accepts(root, sub, item)

    number = isinstance(value, int | float) and not isinstance(value, bool)
    text = isinstance(value, str)
    items = value if isinstance(value, list) else []
    members = value if isinstance(value, dict) else {}
    match keyword:
        case "$ref":
            target: Any = root
            for step in rule.removeprefix("#/").split("/"):
                target = target[step]
            return ok(target, value)
        case "type":
            return any(_is(kind, value) for kind in ([rule] if isinstance(rule, str) else rule))
        case "enum":
            return any(_same(value, each) for each in rule)
        case "const":
            return _same(value, rule)
        case "pattern":
            return not text or _matches(rule, value)
        case "minLength":
            return not text or len(value) >= int(rule)
        case "maxLength":
            return not text or len(value) <= int(rule)
        case "minimum":
            return not number or value >= rule
        case "exclusiveMinimum":
            return not number or value > rule
        case "maximum":
            return not number or value <= rule
        case "exclusiveMaximum":
            return not number or value < rule
        case "prefixItems":
            return all(ok(sub, item) for sub, item in zip(rule, items, strict=False))
        case "items":
            return all(ok(rule, item) for item in items[len(schema.get("prefixItems", ())) :])
        case "minItems":
            return not isinstance(value, list) or len(items) >= rule
        case "maxItems":
            return len(items) <= int(rule)
        case "uniqueItems":
            return not any(_same(a, b) for number, a in enumerate(items) for b in items[:number])
        case "properties":
            return all(ok(rule[name], item) for name, item in members.items() if name in rule)
        case "patternProperties":
            return all(
                ok(sub, item) for name, item in members.items() for each, sub in rule.items() if _matches(each, name)
            )
        case "additionalProperties":
            rest = {
                name: item
                for name, item in members.items()
                if name not in schema.get("properties", {})
                and not any(_matches(each, name) for each in schema.get("patternProperties", {}))
            }
            return not rest if rule is False else all(ok(rule, item) for item in rest.values())
        case "propertyNames":
            return all(ok(rule, name) for name in members)
        case "required":
            return not isinstance(value, dict) or all(name in members for name in rule)
        case "anyOf":
            return any(ok(sub, value) for sub in rule)
        case "allOf":
            return all(ok(sub, value) for sub in rule)
        case "not":
            return not ok(rule, value)
        case "if":
            return ok(schema.get("then" if ok(rule, value) else "else", {}), value)
        case "then" | "else":
            return True
    if keyword not in ANNOTATIONS:
        raise NotImplementedError(keyword)
    return True


def _is(kind: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "null": value is None,
        "boolean": isinstance(value, bool),
        "integer": number and value == int(value) if number else False,
        "number": number,
        "string": isinstance(value, str),
        "array": isinstance(value, list),
        "object": isinstance(value, dict),
    }[kind]


def _same(a: Any, b: Any) -> bool:
    return bool(a == b) and isinstance(a, bool) == isinstance(b, bool)


def _matches(pattern: str, text: str) -> bool:
    return _compiled(pattern).search(text) is not None


@cache
def _compiled(pattern: str) -> re.Pattern[str]:
    # JSON Schema's `$` is the very end; Python's is also before a line break there.
    return re.compile(pattern.removesuffix("$") + r"\Z" if pattern.endswith("$") else pattern)
