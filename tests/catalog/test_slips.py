"""A slip in the file takes nothing away from a model that runs, whichever field it is in."""

from __future__ import annotations

from typing import Any

import pytest

from orchd.catalog.golivepeer import KEYS as NODE_KEYS
from orchd.catalog.keep import merge
from orchd.catalog.names import nearest_field
from orchd.catalog.schema import SECTIONS, Entry
from orchd.domain.model import Model
from orchd.domain.state import DesiredState, Problem, Severity
from tests.catalog.helpers import KEY, entry, errors, model_of, read, read_text, the_error, warnings

GATEWAY = "0x" + "1" * 40
FILES = {"e.env": "FROM_FILE=1", "t": "s3cret"}
WAY_OUT = '"run": false'

VALUES: dict[str, Any] = {
    "price_per_unit": 7, "pixels_per_unit": 9, "price_unit": "hour", "currency": "USD", "capability": "mine",
    "mode": "persistent", "warm": True, "idle_timeout_s": 9, "max_sessions": 3, "capacity": 3, "replicas": 2,
    "session_idle_s": 9,
    "token": "s3cret", "token_file": "t", "profile": "pytrickle", "port": 9000, "start_timeout_s": 7,
    "loading_timeout_s": 7, "route_prefix": "/x", "optimization_flags": {"SFAST": True}, "env": {"A": "b"},
    "env_file": "e.env", "entrypoint": "x", "args": ["x"], "volumes": ["/a:/b"], "gpus": 2, "memory": "8g",
    "shm_size": "1g", "cpus": 2, "user": "1000", "cap_add": ["SYS_NICE"], "pull": "always", "labels": {"a": "b"},
    "init": True, "gateway": GATEWAY, "gpu.id": "0", "gpu.name": "NVIDIA L40S", "gpu.vram_mb": 46_068,
    "version": "1.2", "metadata": "{}",
    "health.kind": "tcp", "health.path": "/x", "health.status_field": "x", "health.ready": ["x"],
    "health.busy": ["x"], "health.loading": ["x"], "health.error": ["x"], "health.ok_codes": [204],
    "health.loading_codes": [503], "health.early_loading_codes": [500], "health.unparsed_as": "ready",
    "health.interval_s": 9, "health.timeout_s": 9, "health.failures": 9, "health.successes": 9,
    "health.tolerate_timeout_while_busy": False, "health.restart_after_s": 99,
    "stream.update_path": "/x", "inference.path": "/x", "inference.timeout_s": 9, "inference.max_body_mb": 9,
    "inference.early_head_s": 9,
    "metrics.path": "/x", "metrics.required": True, "stop.signal": "SIGUSR1", "stop.grace_s": 99,
    "stop.close_streams": False,
}  # fmt: skip
"""For each field a value that makes another model than its default."""
WITHOUT_CHOICE = {"stream.while_loading", "stream.on_second_start"}
KEY_OR_KIND = {"pipeline", "model_id", "image", "command", "url", "run"}
FIELDS = {name for name in Entry.model_fields if name not in SECTIONS} | {
    f"{section}.{name}" for section, part in SECTIONS.items() for name in part.model_fields
}


def slip_of(name: str, known: Any) -> str:
    """Return a slip of `name`: a letter doubled, which leaves `name` the nearest field."""
    slip = name[:-1] + name[-1] * 2
    assert nearest_field(slip, known) == name
    return slip


def written(field: str, value: Any, slip: str = "") -> dict[str, Any]:
    """Return the entry's keys for one field, or for a slip in its last name."""
    section, _, name = field.rpartition(".")
    return {section: {slip or name: value}} if section else {slip or name: value}


def edited(last: Model, *rows: Any) -> DesiredState:
    running = {last.key: last}
    return merge(read(*rows, files=FILES, last_good=running), running)


def the_only_error(state: DesiredState) -> Problem:
    [problem] = [problem for problem in state.problems if problem.severity is Severity.ERROR]
    return problem


def test_every_field_is_tried() -> None:
    assert VALUES.keys() == FIELDS - WITHOUT_CHOICE - KEY_OR_KIND


@pytest.mark.parametrize("field", VALUES)
def test_a_slip_in_any_field_keeps_its_last_good_value(field: str) -> None:
    section, _, name = field.rpartition(".")
    slip = slip_of(name, SECTIONS[section].model_fields if section else Entry.model_fields)
    rest = entry(price_per_unit=...) if name == "price_per_unit" else entry()
    last = model_of(read({**rest, **written(field, VALUES[field])}, files=FILES))
    assert last != model_of(read(rest)), "not another model than without the field"
    state = edited(last, {**rest, **written(field, VALUES[field], slip)})
    assert state.models == {KEY: last}
    problem = the_only_error(state)
    assert slip in problem.message
    assert name in problem.message.replace(slip, "")
    assert (problem.field, problem.key) == (f"{section}.{slip}" if section else slip, KEY)


@pytest.mark.parametrize("section", SECTIONS)
def test_a_slip_in_the_name_of_a_section_keeps_all_of_it(section: str) -> None:
    fields = {name.partition(".")[2]: value for name, value in VALUES.items() if name.startswith(f"{section}.")}
    last = model_of(read(entry(**{section: fields})))
    state = edited(last, entry(**{slip_of(section, Entry.model_fields): fields}))
    assert state.models == {KEY: last}
    assert section in the_only_error(state).message


@pytest.mark.parametrize("field", ["warm", "health.interval_s"])
def test_the_rest_of_the_entry_applies_and_the_slip_lasts_over_further_edits(field: str) -> None:
    section, _, name = field.rpartition(".")
    slip = slip_of(name, SECTIONS[section].model_fields if section else Entry.model_fields)
    last = model_of(read(entry(**written(field, VALUES[field]))))
    for image in ("new:2", "new:3"):
        state = edited(last, entry(image=image, **written(field, VALUES[field], slip)))
        wanted = model_of(read(entry(image=image, **written(field, VALUES[field]))))
        assert state.models == {KEY: wanted}
        assert the_only_error(state)
        last = state.models[KEY]
    mended = edited(last, entry(image="new:3"))
    assert mended.models == {KEY: model_of(read(entry(image="new:3")))}
    assert not mended.problems


def one_edit_away(name: str) -> set[str]:
    """Return what `name` becomes by one letter too many, too few, wrong or swapped with the next."""
    known = {name.replace("_", "") for name in Entry.model_fields}
    ends = [(name[:at], name[at:]) for at in range(len(name) + 1)]
    slips = {a + b[1:] for a, b in ends if b} | {a + b[1] + b[0] + b[2:] for a, b in ends if len(b) > 1}
    slips |= {a + letter + b[cut:] for a, b in ends for letter in "eps_" for cut in (0, 1) if b or not cut}
    return {slip for slip in slips if slip and slip.replace("_", "") not in known and not slip.startswith("_")}


@pytest.mark.parametrize("others", [False, True])
def test_whichever_letter_slips_and_whatever_else_is_there(others: bool) -> None:
    """A slip may be nearer to another field, which is there or not."""
    around = {name: VALUES[name] for name in ("gpus", "cpus", "warm", "env", "user", "pull", "memory", "port")}
    for name in around:
        there = {key: value for key, value in around.items() if others or key == name}
        last = model_of(read(entry(**there)))
        for slip in one_edit_away(name):
            state = edited(
                last, entry(**{key: value for key, value in there.items() if key != name}, **{slip: there[name]})
            )
            assert state.models == {KEY: last}, slip
            assert the_only_error(state), slip


def test_a_slip_that_takes_nothing_away_is_only_a_warning() -> None:
    plain = model_of(read(entry()))
    warm = model_of(read(entry(warm=True)))
    for last, fields in (
        (plain, {"wram": True}),  # warm was false, and stays so
        (warm, {"warm": True, "wram": False}),  # the field itself is there
        (warm, {"warm": True, "qqqq": 1}),  # near to nothing
    ):
        state = edited(last, entry(**fields))
        assert state.models == {KEY: last}
        assert [problem.severity for problem in state.problems] == [Severity.WARNING]
    assert [problem.severity for problem in read(entry(wram=True)).problems] == [Severity.WARNING]


def test_the_field_is_named_in_the_style_of_the_slip() -> None:
    last = model_of(read(entry(maxSessions=3)))
    assert "did you mean maxSessions?" in the_only_error(edited(last, entry(maxSesions=3))).message


def test_prices_for_single_gateways_are_kept_too() -> None:
    row = {"pipeline": "llm", "model_id": "acme/small", "gateway": GATEWAY, "price_per_unit": 5, "pixels_per_unit": 2}
    last = model_of(read(entry(), row))
    for slip in ("price_per_unitt", "pixels_per_unitt", "gatewayy"):
        name = slip[:-1]
        state = edited(last, entry(), {**{k: v for k, v in row.items() if k != name}, slip: row[name]})
        assert state.models == {KEY: last}, slip
        assert the_only_error(state)


def test_a_row_that_cannot_be_used_keeps_its_gateway_s_price() -> None:
    last = model_of(read(entry(), entry(gateway=GATEWAY, price_per_unit=5)))
    assert edited(last, entry(), entry(gateway=GATEWAY, price_per_unit=-5)).models == {KEY: last}


def test_more_unknown_keys_than_are_told_hold_the_model_over() -> None:
    last = model_of(read(entry(warm=True)))
    state = edited(last, entry(image="new:2", **{f"x{number}": 1 for number in range(21)}))
    assert state.models == {KEY: last}
    assert state.held_over == {KEY}


# Entries without image, command and url.

KIND_SLIPS = [
    *("imgae", "iamge", "imag", "image1", "imge", "Imgae", "img", "docker_image", "containerImage", "images"),
    *("comand", "commnad", "cmd", "commands", "command_line"),
    *("ulr", "rul", "uri", "urls", "urll", "base_url", "baseUrl"),
]


@pytest.mark.parametrize("slip", KIND_SLIPS)
@pytest.mark.parametrize("runs", [False, True])
def test_a_slip_of_image_command_or_url_is_an_error_and_held_over(slip: str, runs: bool) -> None:
    last = model_of(read(entry()))
    running = {KEY: last} if runs else {}
    reading = read(entry(image=..., **{slip: "x"}), last_good=running)
    problem = the_error(reading)
    assert slip in problem.message
    assert WAY_OUT in problem.message
    assert merge(reading, running).models == running


@pytest.mark.parametrize(
    "field", sorted(Entry.model_fields.keys() - {*NODE_KEYS, *KEY_OR_KIND, *SECTIONS} | {"pixelsPerUnit", "modelId"})
)
@pytest.mark.parametrize("slipped", [False, True])
def test_keys_that_only_orchd_reads_are_for_orchd(field: str, slipped: bool) -> None:
    value = {"pixelsPerUnit": 2, "modelId": "acme/small"}.get(field) or VALUES[field]
    native = {"pipeline": "llm", "price_per_unit": 1, **({} if field == "modelId" else {"model_id": "acme/small"})}
    key = slip_of(field, Entry.model_fields) if slipped and field in VALUES and len(field) > 4 else field
    problem = the_error(read({**native, key: value}, files=FILES))
    assert key in problem.message
    assert WAY_OUT in problem.message


NATIVE: list[dict[str, Any]] = [
    {"pipeline": "text-to-image", "model_id": "SG161222/RealVisXL_V4.0_Lightning", "price_per_unit": 4768371,
     "warm": True},
    {"pipeline": "upscale", "model_id": "stabilityai/stable-diffusion-x4-upscaler", "price_per_unit": "0.5e-2",
     "warm": True, "optimization_flags": {"SFAST": True, "DEEPCACHE": False}},
    {"pipeline": "audio-to-text", "model_id": "openai/whisper-large-v3", "price_per_unit": 12882, "pixels_per_unit": 1,
     "currency": "USD", "capacity": 2, "token": "abc", "gateway": GATEWAY},
    {"Pipeline": "llm", "MODEL_ID": "meta/llama", "price_per_unit": 0.18, "Warm": False, "comment": "ours",
     "description": "no slip of anything", "name": "x", "node": 1, "host": "h", "sort": 1, "_image": "x", "//url": "x"},
]  # fmt: skip


@pytest.mark.parametrize("native", NATIVE)
def test_entries_of_go_livepeer_alone_are_left_to_it(native: dict[str, Any]) -> None:
    reading = read(native)
    assert not reading.models
    assert errors(reading) == []
    assert any("left to go-livepeer" in problem.message for problem in warnings(reading))


@pytest.mark.parametrize("fields", [{"image": ...}, {"image": ..., "imgae": "x", "gpus": 1}, {}, {"maxSessions": 2}])
def test_run_false_leaves_any_entry_to_go_livepeer(fields: dict[str, Any]) -> None:
    running = {KEY: model_of(read(entry()))}
    reading = read(entry(run=False, **fields), last_good=running)
    assert errors(reading) == []
    assert not merge(reading, running).models


def test_run_true_wants_something_to_run() -> None:
    assert "none of image, command, url" in the_error(read(entry(image=..., run=True))).message
    assert model_of(read(entry(run=True))) == model_of(read(entry()))


def test_several_rows_of_the_node_s_are_its_own_affair() -> None:
    row = {"pipeline": "llm", "model_id": "acme/small", "price_per_unit": 1, "warm": True}
    reading = read(row, row, row)
    assert errors(reading) == []
    assert not reading.models


@pytest.mark.parametrize("first", [{"image": ...}, {"image": ..., "run": False}])
@pytest.mark.parametrize("second", [{"imgae": "x"}, {"gpus": 1}])
def test_each_row_of_a_model_says_by_itself_that_it_is_the_node_s(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    assert WAY_OUT in the_error(read(entry(**first), entry(image=..., **second))).message
    running = {KEY: model_of(read(entry()))}
    state = merge(read(entry(image=..., run=False), entry(image=...), last_good=running), running)
    assert state.models == running
    gone = merge(read(entry(image=..., run=False), entry(image=..., run=False), last_good=running), running)
    assert not gone.models


def test_equal_entries_that_orchd_would_run_are_told_of_replicas() -> None:
    first, second = errors(read(entry(), entry(), entry()))
    assert '"replicas": 3' in first.message
    assert "entry 1 (line 2)" in second.message
    [problem] = errors(read(*[entry(image=..., url="http://h")] * 2))
    assert "load balancer" in problem.message
    assert "replicas" not in problem.message


# Comments, and strict files.


def test_comments_are_no_fields_and_no_unknown_keys() -> None:
    notes = {"_image": "old:1", "// why": 1, "//": {"a": [1]}, "_pipeline": "x", "_": 1, "_model_id": 3}
    reading = read(entry(**notes, health={"_path": "/old", "//x": 1, "path": "/h"}), strict=True)
    assert not reading.problems
    assert model_of(reading).health.path == "/h"
    assert model_of(read_text('[{"//": 1, "pipeline": "llm", "//": 2, "model_id": "a", "image": "x", "//": 3}]'))


def test_names_in_env_and_labels_are_no_comments() -> None:
    launch: Any = model_of(read(entry(env={"_A": "1"}, labels={"_a": "1"}))).launch
    assert ("_A", "1") in launch.env
    assert launch.labels == (("_a", "1"),)


@pytest.mark.parametrize("fields", [{"qqqq": 1}, {"health": {"qqqq": 1}}, {f"x{n}": 1 for n in range(30)}])
def test_in_a_strict_file_every_unknown_key_is_an_error_and_held_over(fields: dict[str, Any]) -> None:
    running = {KEY: model_of(read(entry()))}
    reading = read(entry(image="new:2", **fields), last_good=running, strict=True)
    assert errors(reading)
    assert all(problem.unknown_key and problem.message.startswith("cannot ") for problem in errors(reading))
    assert merge(reading, running).models == running
