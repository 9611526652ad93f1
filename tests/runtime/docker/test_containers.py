"""The Runtime on a real Docker Engine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import docker
import pytest

from orchd.domain.model import ContainerLaunch, GpuRequest, StopSpec
from orchd.domain.ports import HostSeen, Runtime, SightedAs, StopReport
from orchd.domain.whereabouts import Whereabouts
from orchd.errors import Code, EngineUnavailable, LaunchError, OrchdError
from orchd.reconcile.hints import why_it_failed
from orchd.runtime.docker.engine import Engine
from orchd.runtime.docker.runtime import DockerRuntime
from orchd.runtime.docker.settings import DockerSettings
from orchd.tasks import cancel, spawn
from tests.runners.local import BOUND_S
from tests.runtime.bench import Bench, answers, eventually, model, runner_of

pytestmark = pytest.mark.docker

GONE = "0" * 64


def test_it_is_a_runtime() -> None:
    runtime: Runtime = DockerRuntime(DockerSettings(), instance="t", state_dir="/")
    assert str(runtime.id) == "container"


async def test_a_container_is_hardened_bounded_and_labelled(bench: Bench) -> None:
    wanted = bench.model(
        env=(("SCRIPT", "{}"), ("A", "ü=1")),
        cap_add=("NET_BIND_SERVICE",),
        memory_bytes=128 * 2**20,
        shm_bytes=32 * 2**20,
        cpus=0.5,
        user="65534:65534",
        volumes=("/etc/hostname:/host-name:ro",),
        labels=(("team", "images"), ("orchd.instance", "somebody-else")),
        init=True,
        stop_signal="SIGINT",
    )
    found = bench.inspect(await bench.launch(wanted))
    host, config = found["HostConfig"], found["Config"]
    assert found["Name"] == f"/{bench.instance}-{runner_of(wanted).name}"
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert (host["CapDrop"], host["CapAdd"]) == (["ALL"], ["NET_BIND_SERVICE"])
    assert host["PidsLimit"] == bench.settings.pids_limit
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
    assert (host["Memory"], host["MemorySwap"], host["ShmSize"]) == (128 * 2**20, 128 * 2**20, 32 * 2**20)
    assert host["NanoCpus"] == 500_000_000
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["Init"] is True
    assert not host["Privileged"]
    assert not host["PortBindings"]
    [mount] = [mount for mount in found["Mounts"] if mount["Destination"] == "/host-name"]
    assert (mount["Type"], mount["Source"], mount["RW"]) == ("bind", "/etc/hostname", False)
    assert not host["Binds"]  # Docker would make an empty folder for a bind whose path is missing.
    assert (config["User"], config["StopSignal"]) == ("65534:65534", "SIGINT")
    assert {"SCRIPT={}", "A=ü=1"} <= set(config["Env"])
    assert config["Labels"]["team"] == "images"
    assert config["Labels"]["orchd.instance"] == bench.instance
    status = bench.client.exec_start(bench.client.exec_create(found["Id"], ["cat", "/proc/self/status"])["Id"])
    assert b"NoNewPrivs:\t1" in status


async def test_a_container_is_found_by_alias_and_short_id_and_finds_the_host(bench: Bench) -> None:
    wanted = bench.model()
    handle = await bench.launch(wanted)
    other = await bench.launch(bench.model("org/other"))
    for name in (f"{wanted.key.slug}-0", handle[:12], "host.docker.internal"):
        looked_up = bench.client.exec_create(other, ["getent", "hosts", name])["Id"]
        assert bench.client.exec_start(looked_up), name
        assert bench.client.exec_inspect(looked_up)["ExitCode"] == 0, name
    asked = f"import urllib.request as u; print(u.urlopen('http://{wanted.key.slug}-0:8000/health').read())"
    assert b"ok" in bench.client.exec_start(bench.client.exec_create(other, ["python3", "-c", asked])["Id"])


async def test_where_containers_reach_the_host_is_told_as_soon_as_it_is_known(instance: str) -> None:
    told: list[HostSeen] = []
    settings = DockerSettings(network=f"{instance}-net")
    runtime = DockerRuntime(settings, instance=instance, state_dir="/", on_open=lambda: told.append(runtime.host_seen))
    assert runtime.host_seen == HostSeen()
    await runtime.open()
    assert told == [runtime.host_seen]
    assert told[0].address
    await runtime.close()


async def test_a_container_reaches_the_host_where_the_runtime_says(bench: Bench) -> None:
    seen = bench.runtime.host_seen
    assert seen.name == seen.address != ""
    handle = await bench.launch(bench.model())

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nheard")
        writer.close()

    async with await asyncio.start_server(hear, seen.address, 0) as server:
        port = server.sockets[0].getsockname()[1]
        asked = f"import urllib.request as u; print(u.urlopen('http://{seen.name}:{port}/').read())"
        call = bench.client.exec_create(handle, ["python3", "-c", asked])["Id"]
        assert b"heard" in await asyncio.to_thread(bench.client.exec_start, call)


async def test_its_container_is_named_as_docker_names_it(bench: Bench) -> None:
    handle = await bench.prepare(bench.model(env=(("KEY", "planted"),)))
    assert bench.runtime.whereabouts(handle) is None
    await bench.runtime.start(handle)
    found = bench.inspect(handle)
    whereabouts = bench.runtime.whereabouts(handle)
    assert whereabouts == Whereabouts(
        name=found["Name"].lstrip("/"), image=bench.image, image_id=found["Image"], digest="", port=8000, host_port=0
    )
    await bench.runtime.close()
    bench.runtime = fresh = bench.fresh()
    await fresh.open()
    assert fresh.whereabouts(handle) is None
    await fresh.sightings()
    assert fresh.whereabouts(handle) == whereabouts, "one that is adopted has them too"
    await fresh.remove(handle)
    await fresh.sightings()
    assert fresh.whereabouts(handle) is None


async def test_a_port_of_this_machine_is_told_and_looked_up_again_when_it_changes(bench: Bench) -> None:
    await bench.runtime.close()
    runtime = bench.runtime = bench.fresh(reach="loopback")
    await runtime.open()
    handle = await bench.launch(bench.model())

    def bound() -> int:
        return int(bench.inspect(handle)["NetworkSettings"]["Ports"]["8000/tcp"][0]["HostPort"])

    whereabouts = runtime.whereabouts(handle)
    assert whereabouts is not None
    assert whereabouts.host_port == bound()
    bench.client.restart(handle, timeout=0)
    await runtime.sightings()
    again = runtime.whereabouts(handle)
    assert again is not None
    assert again.host_port == bound()


async def test_an_image_is_asked_for_its_digest_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def digests(_self: Engine, image: str) -> tuple[str, ...]:
        asked.append(image)
        return ("mirror/other@sha256:1", f"{bench.image.partition(':')[0]}@sha256:2")

    monkeypatch.setattr(Engine, "digests", digests)
    handles = [await bench.launch(bench.model(f"org/{n}")) for n in range(3)]
    for _ in range(3):
        await bench.runtime.sightings()
    assert len(asked) == 1
    known = [bench.runtime.whereabouts(handle) for handle in handles]
    assert {whereabouts.digest for whereabouts in known if whereabouts is not None} == {
        f"{bench.image.partition(':')[0]}@sha256:2"
    }


async def test_prepare_and_start_may_be_repeated(bench: Bench) -> None:
    wanted = bench.model()
    handle = await bench.prepare(wanted)
    assert await bench.prepare(wanted) == handle
    assert [(s.status, s.address) for s in await bench.runtime.sightings()] == [(SightedAs.CREATED, None)]
    address = await bench.runtime.start(handle)
    assert await bench.runtime.start(handle) == address
    assert await bench.prepare(wanted) == handle


async def test_prepare_replaces_what_is_left_of_a_dead_container(bench: Bench) -> None:
    wanted = bench.model(args=("true",))
    handle = await bench.prepare(wanted)
    bench.client.start(handle)
    bench.client.wait(handle)
    assert await bench.prepare(wanted) != handle
    assert not bench.exists(handle)


async def test_a_fresh_daemon_sees_everything_of_its_instance(bench: Bench) -> None:
    """Adoption rests on this alone: what orchd knew before it was killed does not matter."""
    odd = bench.model("Org/ünï côdé/日本語 " + "x" * 200, env=(("A", "1"),))
    runs = await bench.launch(odd, replica=3)
    created = await bench.prepare(bench.model("org/created"))
    ended = await bench.prepare(bench.model("org/ended", args=("sh", "-c", "exit 7")))
    bench.client.start(ended)
    bench.client.wait(ended)
    await bench.runtime.close()

    fresh = bench.fresh()
    await fresh.open()
    seen = {sighting.handle: sighting for sighting in await fresh.sightings()}
    assert set(seen) == {runs, created, ended}
    assert seen[runs].runner == runner_of(odd, 3)
    assert seen[runs].status is SightedAs.RUNNING
    address = seen[runs].address
    assert address is not None
    await answers(address.host, address.port)
    assert (seen[created].status, seen[created].address) == (SightedAs.CREATED, None)
    assert (seen[ended].status, seen[ended].exit_code, seen[ended].oom_killed) == (SightedAs.EXITED, 7, False)


async def test_stop_ends_it_by_the_signal(bench: Bench) -> None:
    handle = await bench.launch(bench.model())
    assert await bench.runtime.stop(handle, StopSpec("SIGINT", 30)) == StopReport("signal", 130)
    assert await bench.runtime.stop(handle, StopSpec("SIGINT", 30)) == StopReport("already_gone", 130)
    await bench.runtime.remove(handle)
    assert not bench.exists(handle)


async def test_stop_kills_what_ignores_the_signal_and_blocks_nobody_meanwhile(bench: Bench) -> None:
    handles = []
    for replica in range(9):  # more than there are threads
        handles.append(await bench.prepare(bench.model(args=("sleep", "1000")), replica))
        await bench.runtime.start(handles[-1])
    stops = [spawn(bench.runtime.stop(each, StopSpec("SIGTERM", 5)), name="stop") for each in handles]
    await bench.runtime.sightings()
    assert not any(stop.done() for stop in stops)
    for stop in stops:
        assert await stop == StopReport("killed", 137)


async def test_a_paused_container_is_seen_resumed_and_stopped(bench: Bench) -> None:
    handle = await bench.launch(bench.model())
    bench.client.pause(handle)
    [sighting] = await bench.runtime.sightings()
    assert sighting.status is SightedAs.PAUSED
    assert sighting.address is not None
    await bench.runtime.resume(handle)
    await bench.runtime.resume(handle)
    [sighting] = await bench.runtime.sightings()
    assert sighting.status is SightedAs.RUNNING
    bench.client.pause(handle)
    assert await bench.runtime.stop(handle, StopSpec("SIGTERM", 30)) == StopReport("signal", 0)


async def test_what_was_removed_by_hand_is_gone_and_that_is_fine(bench: Bench) -> None:
    handle = await bench.launch(bench.model())
    bench.client.remove_container(handle, force=True)
    assert await bench.runtime.sightings() == ()
    assert await bench.runtime.stop(handle, StopSpec()) == StopReport("already_gone")
    await bench.runtime.remove(handle)
    await bench.runtime.resume(handle)
    assert await bench.runtime.tail(handle, 10) == ()
    with pytest.raises(LaunchError, match=r"cannot start the container \w{12}: .*[Nn]o such container"):
        await bench.runtime.start(handle)


async def test_a_container_that_takes_too_much_memory_is_seen_as_such(bench: Bench) -> None:
    handle = await bench.prepare(
        bench.model(memory_bytes=64 * 2**20, args=("python3", "-c", "x = bytearray(2**30); print(len(x))"))
    )
    bench.client.start(handle)
    bench.client.wait(handle)
    [sighting] = await bench.runtime.sightings()
    assert (sighting.exit_code, sighting.oom_killed) == (137, True)


async def test_a_path_that_the_host_lacks_is_named_and_not_made(bench: Bench, tmp_path: Path) -> None:
    path = tmp_path / "not there"
    with pytest.raises(LaunchError) as caught:
        await bench.prepare(bench.model(volumes=(f"{path}:/models:ro",)))
    assert caught.value.code is Code.VOLUME_MISSING
    assert f"mkdir -p '{path}'" in caught.value.message
    assert not path.exists()
    path.mkdir()
    assert await bench.prepare(bench.model(volumes=(f"{path}:/models:ro",)))


async def test_in_a_container_paths_beside_the_file_are_translated(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    runtime = bench.runtime
    runtime._models_folder = "/etc/orchd"
    runtime._own_mounts = [{"Type": "bind", "Source": str(tmp_path), "Destination": "/etc/orchd"}]
    found = bench.inspect(await bench.prepare(bench.model(volumes=("/etc/orchd/models:/models",))))
    assert [mount["Source"] for mount in found["Mounts"]] == [str(tmp_path / "models")]
    runtime._own_mounts = []
    with pytest.raises(LaunchError, match="orchd runs in a container"):
        await bench.prepare(bench.model("org/other", volumes=("/etc/orchd/models:/models",)))


async def test_remove_takes_the_anonymous_volumes_along(bench: Bench) -> None:
    handle = await bench.prepare(bench.model(volumes=("/scratch",)))
    [mount] = bench.inspect(handle)["Mounts"]
    await bench.runtime.remove(handle)
    assert mount["Name"] not in {v["Name"] for v in bench.client.volumes()["Volumes"] or ()}


async def test_the_tail_is_the_last_lines_cut_and_readable(bench: Bench) -> None:
    script = r"for n in 1 2 3; do echo line $n; done; printf 'bad \377 byte\n'; head -c 900 /dev/zero | tr '\0' x"
    handle = await bench.prepare(bench.model(args=("sh", "-c", script)))
    assert await bench.runtime.tail(handle, 10) == ()
    bench.client.start(handle)
    bench.client.wait(handle)
    tail = await bench.runtime.tail(handle, 4)
    assert len(tail) == 4
    assert {"line 2", "line 3", "bad \ufffd byte", "x" * 500} == set(tail)


async def test_somebody_elses_container_with_our_name_is_not_touched(bench: Bench) -> None:
    wanted = bench.model()
    name = f"{bench.instance}-{runner_of(wanted).name}"
    body = bench.client.create_container(bench.image, name=name)
    try:
        with pytest.raises(LaunchError, match=f"{name} .* somebody else's container"):
            await bench.prepare(wanted)
        assert await bench.runtime.sightings() == ()
        assert bench.exists(body["Id"])
    finally:
        bench.client.remove_container(body["Id"])


async def test_labels_inherited_from_a_committed_image_make_a_container_none_of_ours(bench: Bench) -> None:
    handle = await bench.prepare(bench.model())
    committed = bench.client.commit(handle)["Id"]
    theirs = bench.client.create_container(committed)["Id"]
    try:
        assert bench.inspect(theirs)["Config"]["Labels"]["orchd.instance"] == bench.instance
        assert [sighting.handle for sighting in await bench.runtime.sightings()] == [handle]
    finally:
        bench.client.remove_container(theirs)
        bench.client.remove_image(committed)


async def test_arguments_that_the_engine_refuses_are_its_reason(bench: Bench) -> None:
    with pytest.raises(LaunchError, match=r"cannot create the container of text-to-image/org/model: .*volume") as info:
        await bench.prepare(bench.model(volumes=("relative/path:not-absolute",)))
    assert info.value.code is Code.LAUNCH_REFUSED
    with pytest.raises(LaunchError, match="no-such-program"):
        await bench.runtime.start(await bench.prepare(bench.model(args=("no-such-program",))))


async def test_a_container_that_ends_at_once_has_no_address(bench: Bench) -> None:
    handle = await bench.prepare(bench.model(args=("sh", "-c", "exit 9")))
    bench.client.start(handle)
    bench.client.wait(handle)
    [sighting] = await bench.runtime.sightings()
    assert (sighting.address, sighting.exit_code) == (None, 9)


async def test_loopback_publishes_the_port_on_127_0_0_1_only(bench: Bench) -> None:
    await bench.runtime.close()
    runtime = bench.fresh(reach="loopback")
    await runtime.open()
    wanted = bench.model()
    handle = await runtime.prepare(wanted, runner_of(wanted), lambda line: None)
    address = await runtime.start(handle)
    assert address.host == "127.0.0.1"
    await answers(address.host, address.port)
    published = bench.inspect(handle)["NetworkSettings"]["Ports"]
    assert published == {"8000/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(address.port)}]}
    [sighting] = await runtime.sightings()
    assert sighting.address == address


async def test_by_name_the_address_is_the_short_id(bench: Bench) -> None:
    await bench.runtime.close()
    runtime = bench.fresh(reach="name")
    await runtime.open()
    wanted = bench.model(port=1234)
    handle = await runtime.prepare(wanted, runner_of(wanted), lambda line: None)
    assert str(await runtime.start(handle)) == f"Address(host='{handle[:12]}', port=1234, scheme='http', base_path='')"


async def test_a_missing_network_is_made_and_is_ours(client: docker.APIClient, instance: str) -> None:
    runtime = DockerRuntime(DockerSettings(network=f"{instance}-net"), instance=instance, state_dir="/")
    await runtime.open()
    await runtime.open()
    made = client.networks(names=[f"{instance}-net"])
    assert [(each["Driver"], each["Labels"]) for each in made] == [("bridge", {"orchd.instance": instance})]
    await runtime.close()


async def test_root_without_its_capabilities_is_told_by_what_the_program_says(bench: Bench) -> None:
    wanted = bench.model(args=("sh", "-c", "touch /tmp/x; chown nobody /tmp/x"))
    handle = await bench.prepare(wanted)
    bench.client.start(handle)
    assert bench.client.wait(handle)["StatusCode"] != 0
    assert '`cap_add`: ["CHOWN"]' in why_it_failed(wanted, await bench.runtime.tail(handle, 20))
    allowed = bench.model(args=wanted.launch.args, cap_add=("CHOWN",))  # type: ignore[union-attr]
    handle = await bench.prepare(allowed)
    bench.client.start(handle)
    assert bench.client.wait(handle)["StatusCode"] == 0


async def test_a_network_that_was_pruned_is_made_again(client: docker.APIClient, instance: str, image: str) -> None:
    """Between prepare and start, and before prepare: as `docker system prune` does while nothing runs on it."""
    network = f"{instance}-net"
    runtime = DockerRuntime(DockerSettings(network=network), instance=instance, state_dir="/")
    await runtime.open()
    for number in range(2):
        wanted = model(ContainerLaunch(image, pull="never"), f"org/{number}")
        if number:
            client.remove_network(network)
        handle = await runtime.prepare(wanted, runner_of(wanted), lambda line: None)
        if not number:
            client.remove_network(network)
        address = await runtime.start(handle)
        await answers(address.host, address.port)
        assert [sighting.address for sighting in await runtime.sightings()] == [address]
        await runtime.remove(handle)
    await runtime.close()


async def test_a_network_that_was_pruned_is_made_once_for_all_that_start_at_the_same_time(
    client: docker.APIClient, instance: str, image: str
) -> None:
    """The engine makes several of one name if it is asked for at the same time, and then uses none of them."""
    network = f"{instance}-net"
    runtime = DockerRuntime(DockerSettings(network=network), instance=instance, state_dir="/")
    await runtime.open()
    models = [model(ContainerLaunch(image, pull="never"), f"org/{number}") for number in range(4)]
    handles = [await runtime.prepare(each, runner_of(each), lambda line: None) for each in models]
    client.remove_network(network)
    addresses = await asyncio.gather(*map(runtime.start, handles))
    assert len(client.networks(names=[network])) == 1
    for address in addresses:
        await answers(address.host, address.port)
    for handle in handles:
        await runtime.remove(handle)
    await runtime.close()


@pytest.mark.parametrize("used", [False, True])
async def test_several_networks_of_our_name_become_one(
    client: docker.APIClient, instance: str, image: str, used: bool
) -> None:
    """Two daemons that share a network may have made it at the same time. One in use is never the one that goes."""
    network = f"{instance}-net"
    made = [client.create_network(network, labels={"orchd.instance": "another"}, check_duplicate=False)["Id"]]
    with suppress(docker.errors.APIError):  # Newer engines refuse it, and have nothing to mend.
        made.append(client.create_network(network, labels={"orchd.instance": instance}, check_duplicate=False)["Id"])
    stays = made[-1] if used else made[0]
    if used:
        guest = client.create_container(image)["Id"]
        client.start(guest)
        client.connect_container_to_network(guest, stays)
    runtime = DockerRuntime(DockerSettings(network=network), instance=instance, state_dir="/")
    try:
        await runtime.open()
        assert [each["Id"] for each in client.networks(names=[network])] == [stays]
    finally:
        await runtime.close()
        if used:
            client.remove_container(guest, force=True)
        for each in client.networks(names=[network]):
            client.remove_network(each["Id"])


async def test_a_container_that_somebody_elses_is_linked_to_or_shares_its_network_is_still_ours(bench: Bench) -> None:
    """The engine lists the link as another name of ours."""
    handle = await bench.launch(bench.model())
    bench.client.connect_container_to_network(handle, "bridge")
    others = [
        bench.client.create_container(bench.image, host_config=bench.client.create_host_config(**options))["Id"]
        for options in ({"links": {handle: "a"}}, {"network_mode": f"container:{handle}"})
    ]
    try:
        for other in others:
            bench.client.start(other)
        [listed] = bench.client.containers(filters={"id": handle})
        assert len(listed["Names"]) == 2
        [sighting] = await bench.runtime.sightings()
        assert (sighting.handle, sighting.status) == (handle, SightedAs.RUNNING)
        assert (await bench.runtime.stop(handle, StopSpec("SIGTERM", 30))).how == "signal"
        await bench.runtime.remove(handle)
        assert await bench.runtime.sightings() == ()
    finally:
        for other in others:
            bench.client.remove_container(other, force=True)


async def test_an_engine_that_ends_in_the_middle_of_a_call_is_said_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    async with await asyncio.start_unix_server(hang_up, tmp_path / "e.sock"):
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/e.sock")
        runtime = DockerRuntime(DockerSettings(network="n"), instance="t-none", state_dir="/")
        with pytest.raises(
            EngineUnavailable, match=r"e\.sock: it closed the connection without an answer; does it run"
        ):
            await runtime.open()
        await runtime.close()


async def test_an_unreachable_engine_is_said_so_everywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/no.sock")
    runtime = DockerRuntime(DockerSettings(), instance="t-dead", state_dir="/")
    with pytest.raises(EngineUnavailable, match=r"cannot reach Docker Engine at unix://.*/no\.sock: .*does it run"):
        await runtime.open()
    wanted = model(ContainerLaunch("image:tag"))
    calls: list[Callable[[], object]] = [
        runtime.sightings,
        lambda: runtime.prepare(wanted, runner_of(wanted), lambda line: None),
        lambda: runtime.start(GONE),
        lambda: runtime.stop(GONE, StopSpec()),
        lambda: runtime.remove(GONE),
        lambda: runtime.resume(GONE),
    ]
    for call in calls:
        with pytest.raises(EngineUnavailable):
            await call()  # type: ignore[misc]
    assert await runtime.tail(GONE, 5) == ()
    await runtime.close()


async def test_a_silent_engine_is_given_up_after_the_timeout(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{tmp_path}/silent.sock")
        silent.listen()
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/silent.sock")
        runtime = DockerRuntime(DockerSettings(call_timeout_s=0.2), instance="t-silent", state_dir="/")
        with pytest.raises(EngineUnavailable):
            await runtime.open()
        await runtime.close()


async def test_watch_hurries_on_each_change_and_ends_when_cancelled(bench: Bench) -> None:
    heard: list[str] = []
    hurried = asyncio.Event()
    runtime = bench.runtime
    runtime._on_event = lambda kind, event: heard.append(f"{kind} {event}")
    watching = spawn(runtime.watch(hurried.set), name="watch")
    # The stream begins some time after the call: start containers until one is heard.
    async with asyncio.timeout(BOUND_S):
        replica = 0
        while not hurried.is_set():
            handle = await bench.launch(bench.model(), replica)
            replica += 1
    bench.client.pause(handle)
    bench.client.unpause(handle)
    bench.client.remove_container(handle, force=True)
    await eventually(lambda: "container destroy" in heard)
    await cancel(watching)
    assert set(heard) == {f"container {event}" for event in ("start", "pause", "unpause", "die", "destroy")}


async def test_a_container_is_seen_dead_as_soon_as_its_death_is_heard(bench: Bench) -> None:
    """The engine's own list calls it running until its network is taken down, long after the event."""
    died, hurried = asyncio.Event(), asyncio.Event()
    runtime = bench.runtime
    runtime._on_event = lambda _, event: died.set() if event == "die" else None
    watching = spawn(runtime.watch(hurried.set), name="watch")
    async with asyncio.timeout(BOUND_S):
        replica = 0
        while not hurried.is_set():
            handle = await bench.launch(bench.model(), replica)
            replica += 1
        killing = spawn(asyncio.to_thread(bench.client.kill, handle), name="kill")
        await died.wait()
    seen = {sighting.handle: sighting for sighting in await runtime.sightings()}
    assert seen[handle].status is SightedAs.EXITED
    assert seen[handle].exit_code == 137
    await killing
    await cancel(watching)


async def test_watch_comes_back_after_the_engine_was_away(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream is cut as by a restart of the engine: the next one begins, and the loop is told to look."""
    monkeypatch.setattr("orchd.runtime.docker.event_stream._RECONNECT_MIN_S", 0.01)
    hurried = asyncio.Event()
    calls = 0
    events = bench.runtime._engine.events

    async def broken_once(*args: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise EngineUnavailable("cannot reach it")
        await events(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.runtime._engine, "events", broken_once)
    watching = spawn(bench.runtime.watch(hurried.set), name="watch")
    async with asyncio.timeout(BOUND_S):
        await hurried.wait()
        hurried.clear()
        replica = 0
        while not hurried.is_set():
            await bench.launch(bench.model(), replica)
            replica += 1
    await cancel(watching)


async def test_counted_gpus_are_spread_over_the_least_loaded_ids(bench: Bench) -> None:
    await bench.runtime.close()
    bench.runtime = bench.fresh(gpu_ids=("GPU-a", "GPU-b", "GPU-c"))
    await bench.runtime.open()
    count = bench.model("org/one", gpus=GpuRequest("count", count=1))
    first, second = await asyncio.gather(bench.prepare(count, 0), bench.prepare(count, 1))
    pair = await bench.prepare(bench.model("org/two", gpus=GpuRequest("count", count=2)))
    everything = await bench.prepare(bench.model("org/all", gpus=GpuRequest("all")))
    named = await bench.prepare(bench.model("org/named", gpus=GpuRequest("ids", ids=("GPU-c",))))
    seen = {sighting.handle: sighting.gpu_ids for sighting in await bench.runtime.sightings()}
    assert {seen[first], seen[second]} == {("GPU-a",), ("GPU-b",)}
    assert seen[pair] == ("GPU-a", "GPU-c")
    assert (seen[everything], seen[named]) == (("all",), ("GPU-c",))
    requests = {each: bench.inspect(each)["HostConfig"]["DeviceRequests"] for each in (pair, everything)}
    gpu = {"Driver": "nvidia", "Capabilities": [["gpu"]], "Options": None}
    assert requests[pair] == [{**gpu, "Count": 0, "DeviceIDs": ["GPU-a", "GPU-c"]}]
    assert requests[everything] == [{**gpu, "Count": -1, "DeviceIDs": None}]
    with pytest.raises(LaunchError, match="cannot give the container 4 GPUs: there are 3"):
        await bench.prepare(bench.model("org/four", gpus=GpuRequest("count", count=4)))


async def test_a_new_generation_may_have_the_gpu_of_the_one_that_it_replaces(bench: Bench) -> None:
    """Or two models that are replaced in turn would end on one GPU."""
    await bench.runtime.close()
    bench.runtime = bench.fresh(gpu_ids=("GPU-a", "GPU-b"))
    await bench.runtime.open()
    for model_id in ("org/one", "org/two"):
        await bench.prepare(bench.model(model_id, gpus=GpuRequest("count", count=1)))
    handle = await bench.prepare(bench.model("org/two", gpus=GpuRequest("count", count=1), args=("new",)))
    seen = {sighting.handle: sighting.gpu_ids for sighting in await bench.runtime.sightings()}
    assert seen[handle] == ("GPU-b",)


async def test_a_gpu_that_the_engine_can_not_give_is_said_plainly(bench: Bench) -> None:
    handle = await bench.prepare(bench.model(gpus=GpuRequest("ids", ids=("GPU-no-such-device",))))
    with pytest.raises(LaunchError, match="Docker can't give it a GPU") as info:
        await bench.runtime.start(handle)
    assert info.value.code is Code.GPU_UNAVAILABLE


async def test_no_error_of_the_engine_leaves_untranslated(bench: Bench) -> None:
    """Whatever a handle is, callers get ours or an answer."""
    for handle in (GONE, "a/b", "", "?x=1", "ü"):
        for call in (bench.runtime.start, bench.runtime.remove, bench.runtime.resume):
            try:
                await call(handle)
            except OrchdError as error:
                assert type(error).__module__.startswith("orchd.")  # noqa: PT017
                assert error.message.startswith("cannot ")  # noqa: PT017
