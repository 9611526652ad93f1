"""Types of an entry's fields as pydantic and JSON Schema see them; the fields are in `schema`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field, StringConstraints, WithJsonSchema

from orchd.catalog import values

WHOLE, NUMBER = BeforeValidator(values.whole), BeforeValidator(values.number)
# Bounds stand before the reader, or the JSON Schema would not know them for `minimum` and `maximum`.
Count = Annotated[int, Field(ge=1, le=1_000_000), WHOLE]
Seconds = Annotated[float, Field(gt=0, le=604_800), NUMBER]
HttpCode = Annotated[int, Field(ge=100, le=599), WHOLE]
Text = Annotated[str, StringConstraints(min_length=1)]
Name = Annotated[Text, BeforeValidator(values.model_name), WithJsonSchema({"type": "string", "pattern": values.NAME})]
Word = Annotated[
    str,
    StringConstraints(min_length=1, to_lower=True, strip_whitespace=True),
    WithJsonSchema({"type": "string", "pattern": r"\S"}),
]

PATH = r"^/[!-~]*$"
PATH_OR_AUTO = r"^(auto|/[!-~]*)$"
PREFIX = r"^(auto|(/[!-.0-~]+)*)$"
GATEWAY = r"^(default|0x[0-9a-fA-F]{40})$"
CAPABILITY = r"^[A-Z_]+$"
EXPECTED = {
    PATH: "it should be a path that begins with a slash, such as /health",
    PATH_OR_AUTO: "it should be auto, or a path that begins with a slash",
    PREFIX: "it should be auto, empty, or a path such as /api without a slash at its end",
    GATEWAY: "it should be an Ethereum address, 0x and 40 hex digits",
    CAPABILITY: "it should be the name of a capability, such as SYS_NICE",
}
"""What each pattern asks for, in words."""

Path = Annotated[str, StringConstraints(pattern=PATH)]
TextOrMore = Annotated[
    list[Text],
    BeforeValidator(values.one_or_more),
    WithJsonSchema({"type": ["string", "array"], "minLength": 1, "items": {"type": "string", "minLength": 1}}),
]


def strings(names: str, *more: str) -> WithJsonSchema:
    """An object of text, numbers and booleans, and of what else `more` has; `names`: pattern of its members."""
    types = ["string", "number", "boolean", *more]
    return WithJsonSchema(
        {"type": "object", "propertyNames": {"pattern": names}, "additionalProperties": {"type": types}}
    )


def size(least: int) -> WithJsonSchema:
    """A number of bytes, or text with a unit; at least `least` as a number."""
    number = {"type": "integer", "minimum": least, "exclusiveMaximum": 2**63}
    text = {"type": "string", "pattern": values.SIZE.replace("^", "^(?=[^1-9]*[1-9])")}
    return WithJsonSchema({"anyOf": [number, text], "examples": ["8g", 8589934592]})


GPUS = WithJsonSchema(
    {
        "anyOf": [
            {"const": "all"},
            {"type": "integer", "minimum": 1, "maximum": 64},
            {
                "type": "array",
                "minItems": 1,
                "uniqueItems": True,
                "items": {"type": ["string", "integer"], "pattern": values.GPU_ID, "minimum": 0},
            },
        ],
        "examples": ["all", 1, ["0", "GPU-1f2e"]],
    }
)
