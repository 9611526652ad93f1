"""Entries to models: every rule of the file, one by one, and that nothing crashes it."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.catalog.names import squash
from orchd.catalog.profiles import PROFILES
from orchd.catalog.schema import SECTIONS, Entry
from orchd.domain.details import Details, Gpu
from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import ExternalLaunch, GpuRequest, ProcessLaunch, RunnerKind
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.domain.state import Severity
from orchd.errors import Code
from tests.catalog.helpers import (
    KEY,
    container,
    entry,
    errors,
    model_of,
    read,
    read_text,
    the_error,
    warnings,
)
from tests.catalog.test_parse import json_values

URL = {"image": ..., "url": "http://10.0.0.7:8080"}
COMMAND = {"image": ..., "command": ["serve", "--port", "{port}"]}
FORCED_ONE = ["pytrickle", "pytrickle-api", "ai-runner-live", "comfystream-byoc"]
GATEWAY = "0x5D0a2bc40d27c46a33f35b5cbfef1b4e8ba1e7c4"


def said(reading: Any) -> str:
    return " | ".join(problem.message for problem in reading.problems)


# Nothing crashes.

known = st.sampled_from([*Entry.model_fields, "maxSessions", "modelId", "typo"])
sections = st.dictionaries(
    st.sampled_from([name for part in SECTIONS.values() for name in part.model_fields]), json_values, max_size=4
)
odd = (
    json_values | sections | st.sampled_from(["8g", "1", -1, 0, 2.5, 1e300, "SIGINT", "all", "/x", "bare", "http://h"])
)


@given(st.dictionaries(known, odd, max_size=10), st.booleans())
def test_any_object_gives_a_model_an_error_or_is_left_to_go_livepeer(fields: dict[str, Any], complete: bool) -> None:
    given_entry = entry(**fields) if complete else fields
    reading = read(given_entry)
    left = any("left to go-livepeer" in problem.message for problem in reading.problems)
    left |= not errors(reading) and any(item is False for name, item in given_entry.items() if squash(name) == "run")
    assert len(reading.models) + bool(errors(reading)) + left == 1
    for problem in errors(reading):
        assert problem.message.startswith("cannot "), problem
        assert problem.line == 2


@given(st.lists(json_values | st.builds(lambda fields: entry(**fields), st.dictionaries(known, odd)), max_size=5))
def test_no_list_of_entries_crashes_it(entries: list[Any]) -> None:
    reading = read(*entries)
    assert reading.usable
    assert len(reading.models) <= len(entries)


def test_an_entry_with_any_number_of_faults_tells_only_some() -> None:
    """Each told fault is looked up in the text: all of them would take hours."""
    many = range(100_000)
    assert 20 < len(read(entry(**{f"x{number}": 1 for number in many})).problems) < 30
    assert 20 <= len(errors(read(entry(volumes=list(many))))) < 30
    twice = ",".join(f'"x{number}": 1, "x{number}": 2' for number in many)
    assert 20 <= len(errors(read_text(f"[{{{twice}}}]"))) < 30


# Kinds.


def test_an_image_becomes_a_container_with_the_documented_environment() -> None:
    launch = container(read(entry()))
    assert launch.image == "acme/small:1"
    assert launch.port == 8000
    assert dict(launch.env) == {"PIPELINE": "llm", "MODEL_ID": "acme/small"}


def test_a_command_becomes_a_process_in_the_folder_of_the_file() -> None:
    launch = model_of(read(entry(**COMMAND))).launch
    assert isinstance(launch, ProcessLaunch)
    assert launch.argv == ("serve", "--port", "{port}")
    assert launch.cwd == "/etc/orchd"
    assert dict(launch.env)["MODEL_ID"] == "acme/small"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://h", Address("h", 80)),
        ("https://h.example/base/", Address("h.example", 443, "https", "/base")),
        ("http://[::1]:9000", Address("::1", 9000)),
        ("http://my_box:8000/a/b", Address("my_box", 8000, "http", "/a/b")),
    ],
)
def test_a_url_becomes_an_external_runner(url: str, address: Address) -> None:
    model = model_of(read(entry(image=..., url=url)))
    assert model.launch == ExternalLaunch(address)
    assert model.kind is RunnerKind.EXTERNAL


@pytest.mark.parametrize(
    "url",
    [
        "h:80", "ftp://h", "http://", "http://u:p@h", "http://h?a=1", "http://h#x", "http://h:0", "http://h:99999",
        "http://h/a b", "http://hö", "http://[::g]", 7, "", "http://h\\x",
    ],
)  # fmt: skip
def test_a_url_that_is_no_base_url_is_refused(url: Any) -> None:
    assert the_error(read(entry(image=..., url=url))).field == "url"


def test_more_than_one_kind_is_refused() -> None:
    assert "cannot choose between image and url" in the_error(read(entry(url="http://h"))).message


def test_an_entry_of_no_kind_is_left_to_go_livepeer() -> None:
    reading = read(entry(image=...))
    assert not reading.models
    assert not errors(reading)
    assert "left to go-livepeer" in said(reading)


@pytest.mark.parametrize("user", [-1, True, 1.5, ["x"], {}])
def test_a_user_that_is_none_is_refused_saying_that_numbers_are_fine(user: Any) -> None:
    assert 'it should be a user, such as "app", 1000 or "1000:1000"' in the_error(read(entry(user=user))).message


@pytest.mark.parametrize("command", ["serve --port {port}", [], [""], ["a", 1], {"a": 1}])
def test_a_command_that_is_no_list_is_refused_showing_the_list_form(command: Any) -> None:
    assert '["python3", "server.py", "--port", "{port}"]' in the_error(read(entry(image=..., command=command))).message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 9000), ("entrypoint", "x"), ("args", ["x"]), ("volumes", ["/a:/b"]), ("gpus", 1), ("memory", "8g"),
        ("shm_size", "1g"), ("cpus", 1), ("user", "x"), ("cap_add", ["X"]), ("pull", "never"), ("labels", {}),
        ("init", True),
    ],
)  # fmt: skip
def test_container_knobs_elsewhere_are_refused_by_name(name: str, value: Any) -> None:
    for kind in (URL, COMMAND):
        problem = the_error(read(entry(**kind, **{name: value})))
        assert problem.field == name
        assert f"cannot use {name}" in problem.message


@pytest.mark.parametrize(("name", "value"), [("env", {"A": "b"}), ("env_file", "x"), ("replicas", 2)])
def test_what_only_a_launched_runner_has_is_refused_for_a_url(name: str, value: Any) -> None:
    assert name in the_error(read(entry(**URL, **{name: value}))).message


# Keys, duplicates and further prices.


@pytest.mark.parametrize("value", [..., None, "", " x", "x ", "a\nb", 7, ["x"], "\u2028"])
@pytest.mark.parametrize("name", ["pipeline", "model_id"])
def test_an_entry_without_a_readable_key_belongs_to_no_model(name: str, value: Any) -> None:
    problems = errors(read(entry(**{name: value})))
    assert problems
    assert all(problem.key is None for problem in problems)


def test_a_bad_entry_is_attributed_to_its_key() -> None:
    assert the_error(read(entry(replicas=0))).key == KEY
    assert the_error(read_text('[{"pipeline": "llm", "model_id": "acme/small", "x": 1, "x": 2}]')).key == KEY


def test_a_key_written_twice_is_no_key() -> None:
    [problem] = errors(read_text('[{"pipeline": "llm", "model_id": "a", "model_id": "b", "image": "x"}]'))
    assert problem.key is None


def test_a_key_in_two_spellings_that_differ_is_no_key() -> None:
    assert errors(read(entry(modelId="other")))[0].key is None


def test_keys_are_case_sensitive() -> None:
    assert len(read(entry(), entry(model_id="Acme/small")).models) == 2


def test_of_duplicates_the_first_stands() -> None:
    reading = read(entry(), entry(image="other:1"))
    assert reading.models[KEY].launch == container(read(entry()))
    problem = the_error(reading)
    assert (problem.entry, problem.line) == (1, 3)
    assert "entry 1 (line 2)" in problem.message


def test_rows_for_gateways_are_further_prices() -> None:
    short = {"pipeline": "llm", "model_id": "acme/small", "gateway": GATEWAY, "price_per_unit": 5}
    other = entry(gateway="0x" + "1" * 40, price_per_unit=6, pixels_per_unit=2, currency="eth")
    for rows in ([entry(), short, other], [short, other, entry()]):
        model = model_of(read(*rows))
        assert model.price == Price(Fraction(1))
        assert dict(model.gateway_prices) == {
            GATEWAY.lower(): Price(Fraction(5)),
            "0x" + "1" * 40: Price(Fraction(6), 2, Currency.ETH),
        }


def test_a_model_may_be_offered_to_one_gateway_only() -> None:
    model = model_of(read(entry(gateway=GATEWAY)))
    assert model.price is None
    assert dict(model.gateway_prices) == {GATEWAY.lower(): Price(Fraction(1))}


def test_a_row_for_a_gateway_may_differ_in_nothing_else() -> None:
    problem = the_error(read(entry(), entry(gateway=GATEWAY, image="other:1", warm=True)))
    assert "differs from entry 1 in image, warm" in problem.message
    assert problem.entry == 1


def test_two_rows_for_one_gateway_are_refused_whatever_the_case() -> None:
    problem = the_error(read(entry(), entry(gateway=GATEWAY), entry(gateway=GATEWAY.lower())))
    assert problem.entry == 2


def test_a_bad_price_row_leaves_the_model_alone() -> None:
    reading = read(entry(), entry(gateway=GATEWAY, price_per_unit=-1))
    assert list(reading.models) == [KEY]
    assert reading.models[KEY].gateway_prices == ()
    assert the_error(reading).entry == 1


# Prices.


@pytest.mark.parametrize(
    ("written", "price"),
    [("0", Fraction(0)), ("0.005", Fraction(1, 200)), ("0.5e-2", Fraction(1, 200)), ("12", Fraction(12))],
)
def test_prices_are_exact(written: str, price: Fraction) -> None:
    for text in (written, f'"{written}"'):
        reading = read_text(
            f'[{{"pipeline": "llm", "model_id": "acme/small", "image": "x", "price_per_unit": {text}}}]'
        )
        assert model_of(reading).price == Price(price)
        assert ("go-livepeer refuses the file" in said(reading)) == (text != written)


@pytest.mark.parametrize("price", [-1, -0.1, "-1", "0.5e-2USD", "", "x", True, [1], {}])
def test_what_is_no_price_is_refused(price: Any) -> None:
    assert the_error(read(entry(price_per_unit=price))).field == "price_per_unit"


def test_without_a_price_it_is_not_offered_for_pay() -> None:
    reading = read(entry(price_per_unit=...))
    assert model_of(reading).price is None
    assert "not offered for pay" in said(reading)


def test_currency_and_pixels_belong_to_the_price() -> None:
    price = model_of(read(entry(price_per_unit=0.18, pixels_per_unit=1e6, currency="USD"))).price
    assert price == Price(Fraction(18, 100), 1_000_000, Currency.USD)


@pytest.mark.parametrize("unit", PriceUnit)
@pytest.mark.parametrize("field", ["price_unit", "priceUnit"])
def test_a_price_is_for_the_unit_that_is_written(field: str, unit: PriceUnit) -> None:
    assert model_of(read(entry(**{field: unit}))).price == Price(Fraction(1), unit=unit)
    row = {"pipeline": "llm", "model_id": "acme/small", "gateway": GATEWAY, "price_per_unit": 5, field: unit}
    model = model_of(read(entry(), row))
    assert dict(model.gateway_prices) == {GATEWAY.lower(): Price(Fraction(5), unit=unit)}


def test_without_a_unit_a_price_is_per_second() -> None:
    price = model_of(read(entry())).price
    assert price
    assert price.unit is PriceUnit.SECOND


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("currency", "usd"),
        ("pixels_per_unit", 0),
        ("pixels_per_unit", 1.5),
        ("price_unit", "minute"),
        ("price_unit", 720),
    ],
)
def test_bad_currency_pixels_and_unit_are_refused(name: str, value: Any) -> None:
    assert the_error(read(entry(**{name: value}))).field == name


# Sessions and replicas.


@pytest.mark.parametrize("spelling", ["maxSessions", "max_sessions", "MaxSessions"])
def test_max_sessions_in_any_spelling(spelling: str) -> None:
    assert model_of(read(entry(**{spelling: 3}))).max_sessions == 3
    assert model_of(read(entry(**URL, capacity=3, **{spelling: 3}))).max_sessions == 3


def test_max_sessions_defaults_to_one() -> None:
    model = model_of(read(entry()))
    assert (model.max_sessions, model.replicas, model.sessions_per_replica) == (1, 1, None)


def test_spellings_that_disagree_are_refused() -> None:
    assert "maxSessions and max_sessions differ" in the_error(read(entry(max_sessions=1, maxSessions=2))).message
    assert "max_sessions is 1 and capacity is 2" in the_error(read(entry(**URL, max_sessions=1, capacity=2))).message


def test_capacity_counts_as_max_sessions_and_warns_where_go_livepeer_means_containers() -> None:
    reading = read(entry(**URL, capacity=4))
    assert model_of(reading).max_sessions == 4
    assert warnings(reading) == []
    reading = read(entry(capacity=4))
    assert model_of(reading).max_sessions == 4
    assert "number of containers" in said(reading)


@pytest.mark.parametrize("profile", FORCED_ONE)
def test_a_container_that_carries_one_stream_holds_one_session(profile: str) -> None:
    model = model_of(read(entry(profile=profile, replicas=2, maxSessions=2)))
    assert (model.max_sessions, model.sessions_per_replica) == (2, 1)
    assert model.stream.post_starts_stream
    problem = the_error(read(entry(profile=profile, replicas=2, maxSessions=4)))
    assert "lower it to 2, or raise replicas to 4" in problem.message
    assert problem.field == "maxSessions"
    problem = the_error(read(entry(profile=profile, **URL, capacity=2)))
    assert "set it to 1" in problem.message
    assert problem.field == "capacity"


@pytest.mark.parametrize("profile", sorted(PROFILES.keys() - set(FORCED_ONE)))
def test_other_containers_hold_as_many_as_asked_for(profile: str) -> None:
    model = model_of(read(entry(profile=profile, maxSessions=4)))
    assert (model.max_sessions, model.sessions_per_replica) == (4, None)
    assert not model.stream.post_starts_stream


def test_replicas_that_no_session_can_reach_are_warned_of() -> None:
    assert "3 replicas for 1 session" in said(read(entry(replicas=3)))


# Profiles and knobs.


def test_knobs_override_the_profile_and_leave_the_rest_of_it() -> None:
    model = model_of(
        read(
            entry(
                profile="pytrickle",
                routePrefix="/api",
                startTimeoutS=20,
                idle_timeout_s=9,
                sessionIdleS=7,
                health={"intervalS": 1, "ready": ["OK ", "Fine"], "okCodes": [200, 204]},
                stream={"update_path": "auto"},
                inference={"path": "/x/{pipeline}", "maxBodyMb": 0},
                metrics={"required": True},
                stop={"graceS": 60},
                init=True,
            )
        )
    )
    assert (model.start_timeout_s, model.loading_timeout_s, model.idle_timeout_s) == (20, 180, 9)
    assert (model.session_idle_s, model_of(read(entry())).session_idle_s) == (7, 60)
    assert (model.health.interval_s, model.health.ready, model.health.busy) == (1, ("ok", "fine"), ("ok",))
    assert model.health.ok_codes == (200, 204)
    assert (model.stream.route_prefix, model.stream.update_path) == ("/api", "auto")
    assert model.stream.post_starts_stream
    assert (model.inference.path, model.inference.max_body_mb) == ("/x/llm", 0)
    assert (model.metrics.path, model.metrics.required) == ("/metrics", True)
    assert (model.stop.signal, model.stop.grace_s, model.stop.close_streams) == ("SIGINT", 60, True)


def test_the_pipeline_is_safe_in_the_inference_path() -> None:
    model = model_of(read(entry(pipeline="a b?c")))
    assert model.key == ModelKey("a b?c", "acme/small")
    assert model.inference.path == "/a%20b%3Fc"


def test_optimisation_flags_become_environment_and_give_more_time() -> None:
    reading = read(entry(optimization_flags={"SFAST": True, "DEEPCACHE": None, "GPU": 0.9, "MODE": "max"}))
    assert dict(container(reading).env).items() >= {
        ("SFAST", "true"), ("DEEPCACHE", "false"), ("GPU", "0.9"), ("MODE", "max")
    }  # fmt: skip
    assert (model_of(reading).start_timeout_s, model_of(reading).loading_timeout_s) == (300, 300)
    assert "optimization_flags" in {problem.field for problem in warnings(reading)}
    patient = model_of(read(entry(profile="comfystream-byoc", optimization_flags={"SFAST": True})))
    assert patient.start_timeout_s == 600


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"health": {"interval_s": 0}}, "health.interval_s"),
        ({"health": {"timeout_s": "5"}}, "health.timeout_s"),
        ({"health": {"kind": "exec"}}, "health.kind"),
        ({"health": {"path": "health"}}, "health.path"),
        ({"health": {"ok_codes": []}}, "health.ok_codes"),
        ({"health": {"ok_codes": [99]}}, "health.ok_codes"),
        ({"health": {"failures": 0}}, "health.failures"),
        ({"health": {"ready": "ok"}}, "health.ready"),
        ({"health": []}, "health"),
        ({"stop": {"signal": "TERM"}}, "stop.signal"),
        ({"stop": {"grace_s": -1}}, "stop.grace_s"),
        ({"stream": {"while_loading": "hold"}}, "stream.while_loading"),
        ({"inference": {"path": "x"}}, "inference.path"),
        ({"inference": {"max_body_mb": -1}}, "inference.max_body_mb"),
        ({"route_prefix": "/api/"}, "route_prefix"),
        ({"profile": "pytrikle"}, "profile"),
        ({"port": 0}, "port"),
        ({"port": 65536}, "port"),
        ({"replicas": True}, "replicas"),
        ({"maxSessions": "3"}, "maxSessions"),
        ({"warm": "true"}, "warm"),
        ({"start_timeout_s": 1e9}, "start_timeout_s"),
        ({"idle_timeout_s": 0}, "idle_timeout_s"),
        ({"gateway": "0x12"}, "gateway"),
        ({"image": "a b"}, "image"),
        ({"pull": "sometimes"}, "pull"),
        ({"gpus": 0}, "gpus"),
        ({"gpus": []}, "gpus"),
        ({"gpus": ["0", "0"]}, "gpus"),
        ({"gpus": "0"}, "gpus"),
        ({"memory": "8q"}, "memory"),
        ({"memory": 8}, "memory"),
        ({"shm_size": -1}, "shm_size"),
        ({"cpus": 0}, "cpus"),
        ({"volumes": ["/a"]}, "volumes"),
        ({"volumes": ["~/a:/b"]}, "volumes"),
        ({"volumes": "/a:/b"}, "volumes"),
        ({"cap_add": ["sys_nice"]}, "cap_add"),
        ({"labels": {"orchd.instance": "x"}}, "labels"),
        ({"env": ["A=b"]}, "env"),
        ({"env": {"A": None}}, "env"),
        ({"env": {"A=B": "c"}}, "env"),
        ({"token": "a b"}, "token"),
        ({"optimization_flags": {"A": {}}}, "optimization_flags"),
    ],
)
def test_a_bad_value_is_refused_at_its_field(fields: dict[str, Any], field: str) -> None:
    problem = the_error(read(entry(**fields)))
    assert problem.field == field
    assert problem.code is Code.ENTRY_INVALID


def test_null_is_as_good_as_absent() -> None:
    assert container(read(entry(gpus=None, health=None, url=None, maxSessions=None))).gpus is None


def test_all_problems_of_an_entry_are_told() -> None:
    reading = read(entry(gpus=0, memory=1, command="x", port=-1, health={"interval_s": 0, "timeout_s": 0}))
    assert {problem.field for problem in errors(reading)} == {
        "gpus", "memory", "command", "port", "health.interval_s", "health.timeout_s"
    }  # fmt: skip


def test_one_bad_entry_keeps_no_other_from_applying() -> None:
    reading = read(entry(replicas=0), entry(model_id="other"), 3)
    assert list(reading.models) == [ModelKey("llm", "other")]
    assert {problem.entry for problem in errors(reading)} == {0, 2}


# Container knobs.


def test_container_knobs() -> None:
    launch = container(
        read(
            entry(
                port=9000,
                entrypoint="/run.sh",
                args=["--fast"],
                volumes=["/models:/models:ro", "./cache:/cache", "named:/data"],
                gpus="all",
                memory="1.5g",
                shmSize=1024,
                cpus=1.5,
                user=1000,
                cap_add=["SYS_NICE"],
                pull="always",
                labels={"team": "ml"},
            )
        )
    )
    assert (launch.port, launch.entrypoint, launch.args) == (9000, ("/run.sh",), ("--fast",))
    assert launch.volumes == ("/models:/models:ro", "/etc/orchd/cache:/cache", "named:/data")
    assert (launch.gpus, launch.memory_bytes, launch.shm_bytes) == (GpuRequest("all"), 3 * 2**29, 1024)
    assert (launch.cpus, launch.user, launch.cap_add, launch.pull) == (1.5, "1000", ("SYS_NICE",), "always")
    assert launch.labels == (("team", "ml"),)


@pytest.mark.parametrize("volume", ["/a/b:/c", "./x:/c:ro", "../x y:/c"])
def test_a_path_that_the_host_lacks_is_an_error_with_its_mkdir_line(volume: str) -> None:
    problem = the_error(read(entry(volumes=["name:/n", volume]), lacks=lambda path: f"{path}/z"))
    path = {"/": "/a/b/z", "./": "/etc/orchd/x/z", "..": "'/etc/x y/z'"}[volume[: 1 + volume.startswith(".")]]
    assert f"mkdir -p {path}" in problem.message
    assert (problem.code, problem.field) == (Code.VOLUME_MISSING, "volumes")
    assert not errors(read(entry(volumes=["name:/n", volume]), lacks=lambda path: None))


def test_two_volumes_at_one_place_are_refused() -> None:
    assert "two things at /c" in the_error(read(entry(volumes=["/a:/c", "/b:/c/"]))).message


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ("~/a:/b", "in full"),
        ("models/a:/b", "begins with ./"),
        ("/a:/b:fast", "Docker's options"),
        ("/a:/", "should be"),
    ],
)
def test_a_volume_that_docker_would_refuse_is_refused_with_the_way_out(volume: str, said: str) -> None:
    assert said in the_error(read(entry(volumes=[volume]))).message


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("Org/name", "only lower case here: org/name"), ("org/Name:1", "only lower case"), ("a b", "no blanks"),
        ("https://r.io/a", "leave out http"), ("a:.x", "the tag"), ("a:", "the tag"), ("a:" + "t" * 129, "the tag"),
        ("a@sha256:" + "0" * 63, "sha256:"), ("a@md5:" + "0" * 32, "sha256:"), ("a" * 256, "255"), ("a" * 5000, "255"),
        ("/a", "such as"), ("a/", "such as"), ("a//b", "such as"), ("", "such as"), ("é", "such as"),
        ("r.io:/a", "such as"),
    ],
)  # fmt: skip
def test_an_image_that_docker_would_refuse_is_refused_with_why(image: str, said: str) -> None:
    """Compared with what Docker Engine itself answers."""
    problem = the_error(read(entry(image=image)))
    assert said in problem.message
    assert problem.field == "image"


@pytest.mark.parametrize(
    "image",
    [
        "a", "a.b", "a__b", "a--b", "org/name:1", "localhost/a", "localhost:5000/a", "host:5000/a", "HOST.example/a",
        "a_b.c/d", "r.io:80/o/n:T.x-1@sha256:" + "0" * 64, "a" * 237, "r.io/" + "a" * 250, "sha256:" + "0" * 64,
        "a:" + "t" * 128, "a@sha512:" + "0" * 128, "[::1]:5000/a",
    ],
)  # fmt: skip
def test_an_image_that_docker_takes_is_taken(image: str) -> None:
    assert container(read(entry(image=image))).image == image


@pytest.mark.parametrize(
    ("gpus", "request_"),
    [(2, GpuRequest("count", 2)), (["0", 1], GpuRequest("ids", ids=("0", "1"))), ("all", GpuRequest("all"))],
)
def test_gpus(gpus: Any, request_: GpuRequest) -> None:
    assert container(read(entry(gpus=gpus))).gpus == request_


def test_the_stop_signal_is_part_of_the_container() -> None:
    assert container(read(entry(stop={"signal": "SIGUSR1"}))).stop_signal == "SIGUSR1"
    assert container(read(entry(profile="pytrickle"))).stop_signal == "SIGINT"


# Environment and files.


def test_sources_of_the_environment_in_their_order() -> None:
    launch = container(
        read(
            entry(
                profile="pytrickle",
                optimization_flags={"A": "flag", "B": "flag", "C": "flag"},
                env_file=["one.env", "two.env"],
                env={"C": "env", "N": 1, "T": True, "MODEL_ID": "mine"},
            ),
            files={"one.env": '# note\n\nB=file\r\n  C=file\nQ="as it is" # too\n', "two.env": "\ufeffE=\nB=two"},
        )
    )
    assert dict(launch.env) == {
        "PIPELINE": "llm", "MODEL_ID": "mine", "CAPABILITY_NAME": "llm/acme/small",
        "A": "flag", "B": "two", "C": "env", "Q": '"as it is" # too', "E": "", "N": "1", "T": "true",
    }  # fmt: skip


@pytest.mark.parametrize("line", ["ALONE", "=x", "A B=c", "A =c"])
def test_a_line_of_an_env_file_that_says_nothing_is_refused_by_number(line: str) -> None:
    problem = the_error(read(entry(env_file="a.env"), files={"a.env": f"OK=1\n{line}\n"}))
    assert "line 2 of a.env" in problem.message
    assert line not in problem.message


def test_a_container_that_would_register_itself_is_warned_of() -> None:
    for fields in ({"env": {"ORCH_URL": "x"}}, {"env_file": "a.env"}):
        reading = read(entry(**fields), files={"a.env": "ORCH_SECRET=y"})
        assert "register itself" in said(reading)
        assert reading.models


def test_a_token_comes_from_its_file() -> None:
    token = model_of(read(entry(token_file="t"), files={"t": "s3cret\n"})).token
    assert token is not None
    assert token.value == "s3cret"


@pytest.mark.parametrize("content", ["", "\n", "two words", "a\nb", "é"])
def test_a_token_file_without_a_token_is_refused(content: str) -> None:
    assert the_error(read(entry(token_file="t"), files={"t": content})).code is Code.SECRET_UNREADABLE


def test_files_that_cannot_be_read_are_the_entry_s_problem() -> None:
    assert the_error(read(entry(token_file="t"))).code is Code.SECRET_UNREADABLE
    assert "cannot read a.env: No such file" in the_error(read(entry(env_file="a.env"))).message


@pytest.mark.parametrize(
    "name",
    ["t.token", "./secrets/t.txt", "/run/credentials/orchd.service/t", "/etc/orchd/token", "runner-token", "a/b/c.key"],
)
def test_a_token_file_that_is_not_there_is_named_by_its_path(name: str) -> None:
    assert f"cannot read {name}: No such file" in the_error(read(entry(token_file=name))).message


@pytest.mark.parametrize("content", ["", "two words"])
def test_a_token_file_of_no_use_is_named_by_its_path(content: str) -> None:
    assert "content of odd name" in the_error(read(entry(token_file="odd name"), files={"odd name": content})).message


@pytest.mark.parametrize(
    "name",
    ["hunter2-do-not-show", "dGhpcy/9pcyBhIHRva2Vu+w==", "eyJhbGciOi.eyJzdWIiOiI.SflKxwRJSM", "abc/DEF/gh"],
)
def test_what_may_be_the_token_itself_is_not_repeated(name: str) -> None:
    problem = the_error(read(entry(token_file=name)))
    assert name not in str(problem)
    assert "beside aiModels.json" in problem.message


@pytest.mark.parametrize(
    ("value", "what"),
    [('"x"', "quotes"), ("'x y'", "quotes"), (" x", "blanks"), ("x ", "blanks"), ("x # note", "# and what follows")],
)
def test_what_stays_part_of_a_value_in_an_env_file_is_told_with_its_lines(value: str, what: str) -> None:
    reading = read(entry(env_file="a.env"), files={"a.env": f"A=1\nB={value}\nC=x\nD={value}\n"})
    assert dict(container(reading).env)["B"] == value
    [problem] = warnings(reading)
    assert what in problem.message
    assert "lines 2, 4 of a.env" in problem.message
    assert problem.field == "env_file"


def test_usual_values_in_an_env_file_give_no_warning() -> None:
    text = 'A=it\'s\nB="\nC=\nD=x#y\nE={"a": "b"}\nF=a b\n'
    assert not warnings(read(entry(env_file="a.env"), files={"a.env": text}))


def test_quotes_in_a_token_file_are_told() -> None:
    assert "quotes" in said(read(entry(token_file="t"), files={"t": '"s3cret"\n'}))


def test_token_and_token_file_exclude_each_other() -> None:
    assert "keep one" in the_error(read(entry(token="x", token_file="t"), files={"t": "y"})).message


def test_an_inline_token_that_others_can_read_is_warned_of() -> None:
    assert "chmod 600" in said(read(entry(token="x"), readable_by_others=True))
    assert "chmod 600" not in said(read(entry(token="x")))


# Names.


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("maxSesions", "maxSessions"), ("max_sesions", "max_sessions"), ("pice_per_unit", "price_per_unit")],
)
def test_an_unknown_key_warns_and_suggests(typo: str, meant: str) -> None:
    [problem] = [p for p in read(entry(**{typo: 1})).problems if p.unknown_key]
    assert f"did you mean {meant}?" in problem.message
    assert (problem.severity, problem.field) == (Severity.WARNING, typo)


def test_an_unknown_key_in_a_section_warns_too() -> None:
    reading = read(entry(health={"intervl_s": 1}))
    assert reading.models
    [problem] = [p for p in reading.problems if p.unknown_key]
    assert problem.field == "health.intervl_s"


def test_fields_are_named_as_they_are_written_and_where() -> None:
    text = '[\n{"pipeline": "llm", "model_id": "a",\n"image": "x",\n"Health": {\n"intervalS": 0}}]'
    problem = the_error(read_text(text))
    assert (problem.field, problem.line) == ("Health.intervalS", 5)
    assert str(problem).startswith("aiModels.json:5: entry 1 (llm/a) field Health.intervalS: cannot use 0: ")


# Secrets.

SECRET = "hunter2-do-not-show"


@pytest.mark.parametrize(
    "fields",
    [
        {"token": SECRET + " x"}, {"token": [SECRET]}, {"token": {"x": SECRET}},
        {"token": SECRET, "token_file": SECRET},
        {"token_file": SECRET}, {"token_file": [SECRET]}, {"token_file": "t"}, {"tokn": SECRET},
        {"env": {"A": [SECRET]}}, {"env": [f"A={SECRET}"]}, {"env": SECRET}, {"env": {"A": SECRET}, "replicas": 0},
        {"env_file": "bad.env"}, {"optimization_flags": {"A": {"b": SECRET}}}, {"optimization_flags": SECRET},
        {"labels": {"a": [SECRET]}}, {"args": [SECRET, 3]}, {"args": {"x": SECRET}}, {"entrypoint": {"x": SECRET}},
        {"image": ..., "command": f"serve --key {SECRET}"}, {"image": ..., "url": f"http://u:{SECRET}@host"},
        {"image": ..., "url": f"http://host?key={SECRET}"}, {"env": {"A": SECRET, "B": "\0"}},
        {"token": SECRET, "Token": SECRET + "2"}, {"ORCH_SECRET": SECRET}, {"env": {"ORCH_SECRET": SECRET}},
    ],
)  # fmt: skip
def test_no_secret_is_ever_shown(fields: dict[str, Any]) -> None:
    files = {"t": f"{SECRET} x", "bad.env": f"{SECRET}\nA {SECRET}=x"}
    reading = read(entry(**fields), files=files, readable_by_others=True)
    assert reading.problems
    assert SECRET not in repr(reading) + said(reading) + "".join(map(str, reading.problems))


def test_a_good_model_does_not_show_its_secrets_either() -> None:
    reading = read(entry(token=SECRET, env={"KEY": SECRET}))
    assert SECRET not in repr(model_of(reading)) + str(model_of(reading))
    assert SECRET in json.dumps(dict(container(reading).env))


def test_what_clients_choose_by_is_as_the_entry_has_it() -> None:
    fields = {"gpu": {"id": 0, "name": "NVIDIA L40S", "vramMb": 46068}, "version": "1.2", "metadata": '{"a": 1}'}
    assert model_of(read(entry(**fields))).details == Details(Gpu("0", "NVIDIA L40S", 46068), "1.2", '{"a": 1}')
    assert model_of(read(entry(gpu={}))).details == Details()
    assert model_of(read(entry())).generation == model_of(read(entry(**fields))).generation, "nothing is started again"


def test_metadata_has_1024_bytes_at_most_and_not_1024_letters() -> None:
    assert model_of(read(entry(metadata="é" * 512))).details.metadata == "é" * 512
    problem = the_error(read(entry(metadata="é" * 512 + "x")))
    assert (problem.line, problem.entry, problem.field) == (2, 0, "metadata")
    assert problem.message.endswith("it should be at most 1024 bytes in UTF-8, and is 1025")


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"metadata": "a\ufffd"}, "metadata", "free of U+FFFD"),
        ({"metadata": {"a": 1}}, "metadata", "it should be text, and not empty"),
        ({"metadata": ""}, "metadata", "it should be text, and not empty"),
        ({"version": 1.2}, "version", "it should be text without blanks at its ends"),
        ({"gpu": 1}, "gpu", "it should be an object"),
        ({"gpu": "all"}, "gpu", "the field gpus"),
        ({"gpu": {"vram_mb": 0}}, "gpu.vram_mb", "greater than or equal to 1"),
        ({"gpu": {"vram_mb": "8g"}}, "gpu.vram_mb", "valid integer"),
        ({"gpu": {"id": -1}}, "gpu.id", "valid string"),
    ],
)
def test_what_clients_could_not_be_told_is_refused_by_line_entry_and_field(
    fields: dict[str, Any], field: str, says: str
) -> None:
    problem = the_error(read(entry(model_id="acme/other"), entry(**fields)))
    assert (problem.line, problem.entry, problem.field) == (3, 1, field)
    assert says in problem.message
