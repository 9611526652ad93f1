"""The JSON Schema, the example and the reference name the same fields, and the example is good."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.catalog.json_schema import json_schema
from orchd.catalog.names import camel, squash
from orchd.catalog.profiles import PROFILES
from orchd.catalog.schema import SECTIONS, Entry
from orchd.domain.model import RunnerKind
from tests.catalog.helpers import errors, read, read_text
from tests.catalog.schema_check import accepts
from tests.soak import examples

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "aiModels.example.json").read_text()
REFERENCE = (ROOT / "docs" / "reference" / "aiModels.md").read_text()

SCHEMA = json_schema()
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


def test_the_example_fits_the_schema() -> None:
    assert accepts(SCHEMA, json.loads(EXAMPLE))


# The schema takes what the parser takes.

GOOD: dict[str, list[Any]] = {
    "pipeline": ["llm", "a b", "日本"], "model_id": ["acme/small", "Ü/ö"],
    "image": ["a", "org/name:1", "r.io:80/a/b@sha256:" + "0" * 64], "command": [["a"], ["a", "{port}", ""]],
    "url": ["http://h", "HTTPS://h.example:8000/base/", "http://[::1]:9", "http://h:"],
    "price_per_unit": [0, 0.5, "0.5e-2", "7"], "pixels_per_unit": [1, 1e6], "price_unit": ["hour", "720p"],
    "currency": ["wei", "USD"], "gateway": ["default", "0x" + "aF" * 20], "capability": ["mine"],
    "gpu.id": ["GPU-1f2e", 0], "gpu.name": ["NVIDIA L40S"], "gpu.vram_mb": [1, 46_068.0], "version": ["1.2.0", "v 1"],
    "metadata": ["x", " {\"a\": 1}\n"], "mode": ["persistent", "single-shot"], "run": [True],
    "warm": [True, False], "idle_timeout_s": [1, 0.5, 604_800], "session_idle_s": [1, 0.5],
    "max_sessions": [1], "capacity": [1], "replicas": [1, 1.0], "token": ["s3cret!"], "token_file": ["t"],
    "profile": ["byoc", "pytrickle"], "port": [1, 65_535], "start_timeout_s": [9], "loading_timeout_s": [9],
    "route_prefix": ["auto", "", "/api/v1"], "optimization_flags": [{}, {"A": True, "B": None, "C": "x", "D": 1}],
    "env": [{}, {"A": "x", "_B": 1, "//": False}], "env_file": ["e", ["e", "e"], []], "entrypoint": ["x", ["x", "y"]],
    "args": [[], ["x", ""]], "volumes": [[], ["/a:/b", "./a:/b2:ro", "..:/b3", "name:/b4:rw,z", "/a b:/c d"]],
    "gpus": ["all", 1, 64, ["0", "GPU-1f2e"], [0, 1.0]], "memory": ["8g", "1.5 GiB", 6_291_456],
    "shm_size": ["1g", 1], "cpus": [0.01, 2, 4096], "user": ["me", "1000:1000", 0, 1000], "cap_add": [[], ["SYS_NICE"]],
    "pull": ["always"], "labels": [{}, {"a.b": "x", "N": 1}], "init": [True],
    "health.kind": ["tcp"], "health.path": ["/", "/x"], "health.status_field": ["x"], "health.ready": [[], ["OK "]],
    "health.busy": [["x"]], "health.loading": [["x"]], "health.error": [["x"]], "health.ok_codes": [[200, 204.0]],
    "health.loading_codes": [[], [503]], "health.early_loading_codes": [[100, 599]],
    "health.unparsed_as": ["ready", "unknown"], "health.interval_s": [1], "health.timeout_s": [0.1],
    "health.failures": [1], "health.successes": [1_000_000], "health.tolerate_timeout_while_busy": [False],
    "health.restart_after_s": [1], "stream.update_path": ["auto", "/x"], "stream.while_loading": ["reject"],
    "stream.on_second_start": ["reject"], "inference.path": ["/{pipeline}"], "inference.timeout_s": [1],
    "inference.max_body_mb": [0, 1], "inference.early_head_s": [0, 0.5, 50],
    "metrics.path": ["/m"], "metrics.required": [True],
    "stop.signal": ["SIGINT"], "stop.grace_s": [1], "stop.close_streams": [True],
}  # fmt: skip
"""Values for each field that are good by themselves."""
JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 2, 99, 600, 1.5, 2.0, 65_536, 1_000_001, 604_801, 5_000, -0.5, "", " ", "x", " x",
    "a\nb", "A", "a:", "a b", "8g", "8q", "0g", "-1", "1e5", "1e999", "all", "auto", "TERM", "SIGTERM", "default",
    "0x12", "x ", "/", "/a/", "a/b", "~/a:/b", "/a:/b", "/a:/", "a/b:/c", "/a:/b:foo", "http://h", "http://u:p@h", "http://h?q",
    "h:80", "http://h:0", "http://h:65536", "http://h/a b", "Org/Name", "a@sha256:12", "byoc", "bytoc", "\u2028",
    "\ufffd", "x" * 1025,
    [], [""], ["x"], ["x", "x"], ["x", 1], [1], [200], [99], ["0", "0"], [-1], [None], [[]], ["/a:/b"], ["x y"],
    {}, {"A": "x"}, {"A": None}, {"A": []}, {"A=B": "x"}, {"orchd.x": "y"}, {"": "x"}, {"_x": 1}, {"kind": "tcp"},
]  # fmt: skip
"""Values that are wrong for most fields, and right for some."""
SPELLINGS: dict[str, Callable[[str], str]] = {
    "snake": lambda name: name, "camel": camel, "capital": lambda name: name.title().replace("_", ""),
    "upper": str.upper, "odd": lambda name: name.replace("_", "__") + "_",
}  # fmt: skip
FILES = defaultdict(lambda: "A=b", t="A=b")
BEYOND = ("make them agree", "sessions in", "differ; keep one", "far too large", "bytes in UTF-8, and is")
"""Words of errors about what no schema can say."""


def taken(fields: Any) -> bool | None:
    """Return whether the parser takes an entry where unknown keys are errors; None = a schema can't know."""
    reading = read(fields, files=FILES, strict=True)
    if "gateway" in map(squash, fields) and not fields.keys() & {"image", "command", "url"}:
        return None  # it may be a further row of a model
    if any(words in problem.message for problem in errors(reading) for words in BEYOND):
        return None
    return not errors(reading)


def put(fields: dict[str, Any], place: str, value: Any, spelling: str = "snake") -> dict[str, Any]:
    section, _, name = place.rpartition(".")
    key = SPELLINGS[spelling](name)
    return {**fields, section: {key: value}} if section else {**fields, key: value}


KINDS = ("image", "command", "url")
BASES: list[dict[str, Any]] = [
    {"image": "a"}, {"command": ["a"]}, {"url": "http://h"}, {}, {"run": False}, {"image": "a", "run": False}
]  # fmt: skip
KEYS = {"pipeline": "llm", "model_id": "acme/small"}


def test_good_values_are_there_for_every_field() -> None:
    assert GOOD.keys() == FIELDS


@pytest.mark.parametrize("place", GOOD)
def test_the_schema_takes_what_the_parser_takes_in_every_field_by_itself(place: str) -> None:
    own: dict[str, Any] = {**KEYS, **({} if place in (*KINDS, "run") else {"image": "a"})}
    own.pop(place, None)
    for value in JUNK:
        entry = put(own, place, value)
        assert taken(entry) in (accepts(SCHEMA, [entry]), None), entry
    for value in GOOD[place]:
        assert taken(put({"image": "a"} | own if place == "run" else own, place, value)) is not False, (place, value)
    for base in BASES:
        for spelling in SPELLINGS:
            other = {name: item for name, item in {**KEYS, **base}.items() if name != place}
            entry = put(other, place, GOOD[place][0], spelling)
            assert taken(entry) in (accepts(SCHEMA, [entry]), None), entry


values_of = {place: st.sampled_from(good) for place, good in GOOD.items()}
one_field = st.sampled_from(sorted(GOOD)).flatmap(
    lambda place: st.tuples(
        st.just(place), values_of[place] | values_of[place] | st.sampled_from(JUNK), st.sampled_from(sorted(SPELLINGS))
    )
)
notes = st.sampled_from(["_", "_image", "//", "// x", "_Pipeline"])
strangers = st.sampled_from(["imgae", "qqqq", "health_", "$schema", " image", "-", "ímage"])


@given(
    st.sampled_from(BASES),
    st.lists(one_field, max_size=5),
    st.lists(notes, max_size=2) | st.lists(notes | strangers, max_size=2),
)
@settings(max_examples=examples(600))
def test_the_schema_takes_what_the_parser_takes(
    base: dict[str, Any], fields: list[tuple[str, Any, str]], others: list[str]
) -> None:
    entry: dict[str, Any] = {**KEYS, **base}
    for place, value, spelling in fields:
        section, _, name = place.rpartition(".")
        key = SPELLINGS[spelling](name)
        fields_here = entry.setdefault(section, {}) if section else entry
        if isinstance(fields_here, dict):
            for same in [other for other in fields_here if squash(other) == squash(key)]:
                del fields_here[same]  # a field that is written twice is beyond a schema
            fields_here[key] = value
    entry |= dict.fromkeys(others, "x")
    assert taken(entry) in (accepts(SCHEMA, [entry]), None), entry


@pytest.mark.parametrize("whole", [None, {}, 3, "x", [None], [3], ["x"], [[]]])
def test_what_is_no_list_of_objects_fits_neither(whole: Any) -> None:
    assert errors(read_text(json.dumps(whole)))
    assert not accepts(SCHEMA, whole)


def test_rows_for_one_gateway_may_leave_out_the_rest() -> None:
    row = {**KEYS, "gateway": "0x" + "1" * 40, "price_per_unit": 5, "price_unit": "hour"}
    assert accepts(SCHEMA, [{**KEYS, "image": "a", "price_per_unit": 1}, row])
