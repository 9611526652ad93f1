"""Names, labels, aliases, GPUs and arguments of containers; how they are reached; what pulls say."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import ContainerLaunch
from orchd.domain.ports import HostSeen
from orchd.errors import PASSING, Code, EngineUnavailable, LaunchError
from orchd.runtime.docker import spec
from orchd.runtime.docker.pulls import PullProgress, pull_error
from orchd.runtime.docker.reach import Reach, address_of, choose_reach, host_seen, is_routed
from orchd.runtime.docker.settings import DockerSettings

text = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=300)
keys = st.builds(ModelKey, text, text)
runners = st.builds(RunnerId, keys, st.integers(0, 9999), st.text("0123456789abcdef", min_size=12, max_size=12))
instances = st.from_regex(r"[a-z0-9][a-z0-9-]{0,31}", fullmatch=True)

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
"""Docker's rule for container names: daemon/names in moby."""
DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
"""RFC 1123."""


def body(runner: RunnerId, launch: ContainerLaunch, **more: Any) -> dict[str, Any]:
    return spec.create_body("t", runner, launch, DockerSettings(), **{"gpu_ids": (), "publish": False, **more})


RUNNER = RunnerId(ModelKey("text-to-image", "org/model"), 0, "0123456789ab")


@given(instances, runners)
def test_names_and_aliases_fit_docker_whatever_the_model_is_called(instance: str, runner: RunnerId) -> None:
    assert NAME.fullmatch(spec.container_name(instance, runner))
    assert len(spec.container_name(instance, runner)) <= 128
    assert DNS_LABEL.fullmatch(spec.network_alias(runner))


@given(instances, runners)
def test_labels_give_the_same_runner_back(instance: str, runner: RunnerId) -> None:
    own = (("orchd.model_id", "not/this"), ("team", "x"))
    labels = spec.labels(instance, runner, ContainerLaunch("image", labels=own), ("GPU-1", "2"))
    assert all(isinstance(value, str) for value in labels.values())
    assert spec.runner_of(spec.container_name(instance, runner), labels) == runner
    assert spec.gpu_ids_of(labels) == ("GPU-1", "2")
    assert labels["team"] == "x"


@given(runners, runners)
def test_different_runners_have_different_names(one: RunnerId, other: RunnerId) -> None:
    assert (spec.container_name("t", one) == spec.container_name("t", other)) == (one == other)


@pytest.mark.parametrize("missing", [spec.PIPELINE, spec.MODEL_ID, spec.REPLICA, spec.GENERATION, spec.INSTANCE])
def test_labels_that_are_incomplete_tell_no_runner(missing: str) -> None:
    labels = spec.labels("t", RUNNER, ContainerLaunch("image"), ())
    name = spec.container_name("t", RUNNER)
    assert spec.runner_of(name, labels) == RUNNER
    assert spec.runner_of("renamed", labels) is None
    assert spec.runner_of(name, {**labels, spec.REPLICA: "many"}) is None
    del labels[missing]
    assert spec.runner_of(name, labels) is None


def test_what_the_entry_does_not_say_is_left_to_the_image_and_to_docker() -> None:
    made = body(RUNNER, ContainerLaunch("image"))
    assert not {"Entrypoint", "Cmd", "User"} & made.keys()
    assert (
        not {"Memory", "ShmSize", "NanoCpus", "PortBindings", "DeviceRequests", "Devices"} & made["HostConfig"].keys()
    )


def test_what_the_entry_says_is_passed_on() -> None:
    made = body(RUNNER, ContainerLaunch("image", entrypoint=("python3",), args=("-m", "x"), user="1000", cpus=0.1))
    assert (made["Entrypoint"], made["Cmd"], made["User"]) == (["python3"], ["-m", "x"], "1000")
    assert made["HostConfig"]["NanoCpus"] == 100_000_000


def test_a_port_is_published_on_loopback_only_where_asked_for() -> None:
    made = body(RUNNER, ContainerLaunch("image", port=9000), publish=True)
    assert made["HostConfig"]["PortBindings"] == {"9000/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}


@pytest.mark.parametrize(
    ("gpu_ids", "request_"),
    [
        (("all",), {"Driver": "nvidia", "Capabilities": [["gpu"]], "Count": -1}),
        (("0", "GPU-1"), {"Driver": "nvidia", "Capabilities": [["gpu"]], "DeviceIDs": ["0", "GPU-1"]}),
    ],
)
def test_gpus_are_a_device_request(gpu_ids: tuple[str, ...], request_: dict[str, object]) -> None:
    made = body(RUNNER, ContainerLaunch("image"), gpu_ids=gpu_ids)
    assert made["HostConfig"]["DeviceRequests"] == [request_]
    assert spec.gpu_ids_of(made["Labels"]) == gpu_ids


GPUS = (("GPU-a", "0"), ("GPU-b", "1"), ("GPU-c", "2"))


@pytest.mark.parametrize(
    ("count", "taken", "chosen"),
    [
        (1, [], ("GPU-a",)),
        (1, [("GPU-a",)], ("GPU-b",)),
        (1, [("0",), ("1",)], ("GPU-c",)),  # an entry may name a GPU by its index
        (2, [("GPU-b",)], ("GPU-a", "GPU-c")),
        (1, [("all",), ("GPU-a",)], ("GPU-b",)),
        (2, [("GPU-a", "GPU-b"), ("GPU-c",), ("GPU-c",)], ("GPU-a", "GPU-b")),
        (3, [("GPU-a",)], ("GPU-a", "GPU-b", "GPU-c")),
        (1, [("GPU-of-another-host",)], ("GPU-a",)),
    ],
)
def test_a_count_takes_the_gpus_that_fewest_runners_hold(
    count: int, taken: list[tuple[str, ...]], chosen: tuple[str, ...]
) -> None:
    assert spec.choose_gpus(count, GPUS, taken) == chosen


@given(st.integers(1, 3), st.lists(st.sets(st.sampled_from(["GPU-a", "GPU-b", "GPU-c"]), min_size=1), max_size=9))
def test_no_gpu_left_out_is_less_loaded_than_one_chosen(count: int, taken: list[set[str]]) -> None:
    chosen = spec.choose_gpus(count, GPUS, [tuple(each) for each in taken])
    load = {names[0]: sum(names[0] in each for each in taken) for names in GPUS}
    assert len(set(chosen)) == count
    assert max(load[each] for each in chosen) <= min((load[each] for each in load.keys() - set(chosen)), default=99)


def test_more_gpus_than_there_are_is_refused() -> None:
    with pytest.raises(LaunchError, match="cannot give the container 4 GPUs: there are 3") as info:
        spec.choose_gpus(4, GPUS, [])
    assert info.value.code is Code.GPU_UNAVAILABLE


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        ('could not select device driver "nvidia" with capabilities: [[gpu]]', Code.GPU_UNAVAILABLE),
        ("nvidia-container-cli: device error: GPU-x: unknown device", Code.GPU_UNAVAILABLE),
        ("No such image: x:latest", Code.IMAGE_UNAVAILABLE),
        ("invalid mount config", Code.LAUNCH_REFUSED),
    ],
)
def test_a_refused_launch_keeps_dockers_reason(reason: str, code: Code) -> None:
    error = spec.launch_failure("start it", reason)
    assert error.code is code
    assert error.message.startswith("cannot start it: ")
    assert reason in error.message


@pytest.mark.parametrize(
    ("own_networks", "routed", "reach"),
    [
        (None, True, Reach.ADDRESS),
        (None, False, Reach.LOOPBACK),
        ({"orchd", "other"}, True, Reach.NAME),
        ({"orchd"}, False, Reach.NAME),
        ({"host"}, True, Reach.ADDRESS),
    ],
)
def test_auto_reach(own_networks: set[str] | None, routed: bool, reach: Reach) -> None:
    assert choose_reach("auto", "orchd", own_networks=own_networks, routed=routed) is reach
    assert choose_reach("loopback", "orchd", own_networks=own_networks, routed=routed) is Reach.LOOPBACK


def test_a_daemon_in_a_container_off_the_network_is_told_to_join() -> None:
    with pytest.raises(EngineUnavailable, match="only on bridge; join it with: docker network connect orchd"):
        choose_reach("auto", "orchd", own_networks={"bridge"}, routed=True)


@pytest.mark.parametrize(
    ("info", "local", "routed"),
    [
        ({"SecurityOptions": ["name=seccomp,profile=default"], "OperatingSystem": "Debian"}, True, True),
        ({"SecurityOptions": None, "OperatingSystem": "Debian"}, False, False),
        ({"SecurityOptions": ["name=seccomp", "name=rootless"], "OperatingSystem": "Debian"}, True, False),
        ({"SecurityOptions": [], "OperatingSystem": "Docker Desktop"}, True, False),
    ],
)
def test_which_engines_route_to_their_containers(info: dict[str, object], local: bool, routed: bool) -> None:
    assert is_routed(info, local=local) is routed


def test_a_container_made_under_another_reach_is_still_found() -> None:
    listed = {"Id": "f" * 64, "Ports": [], "NetworkSettings": {"Networks": {"orchd": {"IPAddress": "172.18.0.2"}}}}
    assert address_of(listed, Reach.LOOPBACK, "orchd", 8000) == Address("172.18.0.2", 8000)
    assert address_of(listed, Reach.NAME, "orchd", 8000) == Address("f" * 12, 8000)
    assert address_of(listed, Reach.ADDRESS, "another", 8000) is None


def test_progress_of_a_pull_in_one_line() -> None:
    progress = PullProgress("img:1")
    assert progress.line() == "pulling img:1"
    for message in (
        {"status": "Pulling from library/img", "id": "1"},
        {"status": "Already exists", "progressDetail": {}, "id": "aa"},
        {"status": "Pulling fs layer", "progressDetail": {}, "id": "bb"},
        {"status": "Waiting", "progressDetail": {}, "id": "cc"},
        {"status": "Downloading", "progressDetail": {"current": 100_000_000, "total": 700_000_000}, "id": "bb"},
        {"status": "Downloading", "progressDetail": {"current": 20_000_000, "total": 100_000_000}, "id": "cc"},
    ):
        progress.take(message)
    assert progress.line() == "pulling img:1 1/3 layers 120 of 800 MB"
    progress.take({"status": "Extracting", "progressDetail": {"current": 5, "total": 700_000_000}, "id": "bb"})
    progress.take({"status": "Pull complete", "progressDetail": {}, "id": "cc"})
    progress.take({"status": "Digest: sha256:00"})
    assert progress.line() == "pulling img:1 2/3 layers 800 of 800 MB"


@pytest.mark.parametrize(
    ("reason", "plain"),
    [
        ("manifest for a/b:c not found: manifest unknown: manifest unknown", "the registry has no such image or tag"),
        (
            "pull access denied for x, repository does not exist or may require 'docker login': denied",
            "there is no such repository, or it needs a login",
        ),
        ("Get https://r/v2/: no basic auth credentials", "the registry refuses us"),
        ("unauthorized: authentication required", "the registry refuses us"),
        ("Get https://r/v2/: dial tcp: lookup r: no such host", "its registry can't be reached"),
        ("write /var/lib/docker/tmp/x: no space left on device", "no space is left"),
        ("toomanyrequests: You have reached your pull rate limit", "rate limit"),
        ("no matching manifest for linux/arm64/v8 in the manifest list entries", "no variant for this machine"),
        ("invalid reference format", "not the name of an image"),
        ("something new", "the engine refused"),
    ],
)
def test_a_failed_pull_says_why_in_plain_words(reason: str, plain: str) -> None:
    message = pull_error("a/b:c", reason).message
    assert message.startswith("cannot pull a/b:c: ")
    assert plain in message
    assert message.endswith(f"(Docker says: {reason})")


@pytest.mark.parametrize(
    "reason",
    [
        "toomanyrequests: You have reached your pull rate limit",
        'error parsing HTTP 429 response body: unexpected end of JSON input: ""',
        "received unexpected HTTP status: 500 Internal Server Error",
        "unexpected status from HEAD request to https://r.example:443/v2/x/manifests/v1: 503 Service Unavailable",
        "failed to resolve reference: unexpected status code [manifests v1]: 502 Bad Gateway",
        "Get https://r.example/v2/: net/http: request canceled (Client.Timeout exceeded while awaiting headers)",
        "dial tcp: lookup r.example on 127.0.0.1:53: no such host",
        "dial tcp 127.0.0.1:5000: connect: connection refused",
        "net/http: TLS handshake timeout",
        "read tcp 10.0.0.1:1->10.0.0.2:443: read: connection reset by peer",
        "unexpected EOF",
    ],
)
def test_a_registry_that_is_away_is_told_from_an_image_that_is_not_there(reason: str) -> None:
    assert pull_error("a/b:c", reason).code is Code.REGISTRY_UNAVAILABLE
    assert Code.REGISTRY_UNAVAILABLE in PASSING


@pytest.mark.parametrize(
    "reason",
    [
        "manifest for team/timeout-500:eof not found: manifest unknown: manifest unknown",
        "pull access denied for team/timeout-500:eof, repository does not exist or may require 'docker login'",
        'error parsing HTTP 404 response body: unexpected end of JSON input: ""',
        "unexpected status from HEAD request to https://r:5000/v2/x/manifests/500: 401 Unauthorized",
        "x509: certificate signed by unknown authority",
        "no matching manifest for linux/arm64 in the manifest list entries",
        "write /var/lib/docker/tmp/x: no space left on device",
        "something that nobody has seen before",
    ],
)
def test_what_only_a_person_can_mend_counts(reason: str) -> None:
    assert pull_error("team/timeout-500:eof", reason).code is Code.IMAGE_UNAVAILABLE


@pytest.mark.parametrize(
    ("reach", "gateway", "own", "seen"),
    [
        (Reach.ADDRESS, "172.18.0.1", "", HostSeen("172.18.0.1", "172.18.0.1")),
        (Reach.ADDRESS, "", "", HostSeen()),
        (Reach.NAME, "172.18.0.1", "172.18.0.7", HostSeen("172.18.0.7", "172.18.0.7")),
        (Reach.LOOPBACK, "172.18.0.1", "", HostSeen("host.docker.internal")),
    ],
)
def test_where_containers_reach_orchd_follows_from_how_it_reaches_them(
    reach: Reach, gateway: str, own: str, seen: HostSeen
) -> None:
    assert host_seen(reach, gateway, own) == seen
