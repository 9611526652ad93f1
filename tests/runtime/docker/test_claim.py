"""One daemon per instance on an engine: who lives, who is dead, and what a kill -9 leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import site
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from orchd.errors import AlreadyRunning, EngineUnavailable
from orchd.runtime.docker.claim import Holder, Life, container_id_in, judge, start_ticks_of
from orchd.runtime.docker.runtime import DockerRuntime
from orchd.runtime.docker.settings import DockerSettings
from tests.docker_images import BASE
from tests.runtime.bench import Bench, eventually

ME = Holder("n1", boot_id="boot", pid_ns="pid:[1]", pid="10", start_ticks="100", host="h", state_dir="/s")
HOST = replace(ME, nonce="n2", pid="20", start_ticks="200")
BOXED = replace(HOST, pid_ns="pid:[2]", container_id="c" * 64, container_started_at="t1")


@pytest.mark.parametrize(
    ("holder", "ticks", "started", "local", "life"),
    [
        (HOST, "200", "", True, Life.ALIVE),
        (HOST, "200", "", False, Life.ALIVE),
        (HOST, "", "", True, Life.DEAD),
        (HOST, "201", "", True, Life.DEAD),  # the pid is another process's now
        (replace(HOST, pid_ns="pid:[2]"), "200", "", True, Life.UNKNOWN),  # a pid that we can't see
        (replace(HOST, boot_id="before"), "200", "", True, Life.DEAD),
        (replace(HOST, boot_id="before"), "200", "", False, Life.UNKNOWN),  # another machine with our name
        (replace(HOST, boot_id="other", host="other"), "", "", True, Life.UNKNOWN),  # a forwarded socket
        (BOXED, "", "t1", True, Life.ALIVE),
        (BOXED, "", "t2", True, Life.DEAD),
        (BOXED, "", "", False, Life.DEAD),
        (replace(BOXED, boot_id="before"), "", "t1", True, Life.ALIVE),  # the engine knows better than the boot
        (replace(BOXED, pid_ns="pid:[1]"), "", "t1", True, Life.DEAD),  # in one container with us
        (Holder.of({}), "", "", True, Life.UNKNOWN),
    ],
)
def test_who_lives(holder: Holder, ticks: str, started: str, local: bool, life: Life) -> None:
    assert judge(holder, ME, start_ticks=ticks, container_started_at=started, local=local) is life


def test_a_holder_is_read_back_from_its_labels() -> None:
    assert Holder.of({**BOXED.labels(), "other": "label"}) == BOXED


def test_a_zombie_is_no_process() -> None:
    child = subprocess.Popen(["sleep", "1000"])
    assert start_ticks_of(str(child.pid)).isdigit()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert start_ticks_of(str(child.pid)) == ""
    child.wait()


def test_a_container_is_told_by_its_own_mounts_only() -> None:
    inside = "651 640 8:1 /var/lib/docker/containers/{0}/hostname /etc/hostname rw - ext4 /dev/sda rw"
    outside = "99 22 0:50 / /var/lib/docker/containers/{0}/mounts/shm rw - tmpfs shm rw"
    volume = "99 22 8:1 /var/lib/docker/containers/{0}/hostname /mnt/hostname rw - ext4 /dev/sda rw"
    assert container_id_in(inside.format("a" * 64)) == "a" * 64
    assert container_id_in(f"{outside}\n{volume}".format("a" * 64)) is None


def runtime_of(instance: str, network: str = "bridge", state_dir: str = "/s") -> DockerRuntime:
    return DockerRuntime(DockerSettings(network=network), instance=instance, state_dir=state_dir)


def claims(client: docker.APIClient, instance: str) -> dict[str, Holder]:
    found = client.volumes(filters={"label": f"orchd.instance={instance}"})["Volumes"] or []
    return {each["Name"]: Holder.of(each["Labels"]) for each in found}


HOLD = """
import asyncio, sys
from orchd.runtime.docker.runtime import DockerRuntime
from orchd.runtime.docker.settings import DockerSettings

async def main():
    runtime = DockerRuntime(DockerSettings(network=sys.argv[2]), instance=sys.argv[1], state_dir="/elsewhere")
    await runtime.open()
    print(runtime._reach.value, flush=True)
    await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


@pytest.fixture
def hold(instance: str) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Start another daemon of the instance; return once it holds it."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        child = subprocess.Popen(
            [sys.executable, "-c", HOLD, instance, "bridge"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(child)
        assert child.stdout is not None
        await_held(child.stdout)
        return child

    yield start
    for child in started:
        child.kill()
        child.communicate()


def await_held(lines: Iterable[str]) -> str:
    """Read what `HOLD` prints up to the one word that says how it reaches containers."""
    read = []
    for line in lines:
        read.append(line.strip())
        if read[-1] in ("name", "address", "loopback"):
            return read[-1]
    raise AssertionError(f"it ended before it held the instance: {read}")


@pytest.mark.docker
async def test_a_second_daemon_is_refused_before_it_touches_anything(
    client: docker.APIClient, instance: str, hold: Callable[[], subprocess.Popen[str]]
) -> None:
    """Whatever its state directory; the message names the first."""
    first = hold()
    second = runtime_of(instance, network=f"{instance}-net", state_dir="/here")
    with pytest.raises(AlreadyRunning) as info:
        await second.open()
    [volume] = claims(client, instance)
    for word in (instance, f"process {first.pid} ", "/elsewhere", f"docker volume rm {volume}"):
        assert word in info.value.message
    assert client.networks(names=[f"{instance}-net"]) == []
    with pytest.raises(EngineUnavailable, match="cannot run the instance"):
        await second.sightings()
    await second.close()
    assert list(claims(client, instance)) == [volume]


@pytest.mark.docker
async def test_a_kill_frees_the_instance(
    client: docker.APIClient, instance: str, hold: Callable[[], subprocess.Popen[str]]
) -> None:
    """Even before the parent has waited for the dead process."""
    first = hold()
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222 - at once: it is killed
    second = runtime_of(instance)
    await second.open()
    [holder] = claims(client, instance).values()
    assert holder.pid == str(os.getpid())
    await second.close()
    assert claims(client, instance) == {}


@pytest.mark.docker
async def test_closing_frees_the_instance_and_another_one_is_apart(client: docker.APIClient, instance: str) -> None:
    first, second, other = runtime_of(instance), runtime_of(instance), runtime_of(f"{instance}-b")
    await first.open()
    await other.open()
    await other.close()
    with pytest.raises(AlreadyRunning):
        await second.open()
    await first.close()
    await second.open()
    await second.close()
    assert claims(client, instance) == {}


@pytest.mark.docker
@pytest.mark.parametrize("dead", [True, False])
async def test_of_many_at_once_one_gets_it(client: docker.APIClient, instance: str, dead: bool) -> None:
    """Also when all of them find the claim of a dead daemon."""
    if dead:
        left = {"orchd.instance": instance, **replace(HOST, boot_id="before", host=os.uname().nodename).labels()}
        client.create_volume(f"orchd-claim.{instance}.7", labels=left)
    runtimes = [runtime_of(instance) for _ in range(8)]
    opened = await asyncio.gather(*(each.open() for each in runtimes), return_exceptions=True)
    assert sorted(map(type, opened), key=str) == sorted([*[AlreadyRunning] * 7, type(None)], key=str)
    assert len(claims(client, instance)) == 1
    for each in runtimes:
        await each.close()
    assert claims(client, instance) == {}


@pytest.mark.docker
async def test_a_pruned_claim_is_taken_again_and_a_lost_one_stops_us(client: docker.APIClient, bench: Bench) -> None:
    """`docker volume prune` of an old engine removes volumes that no container uses."""
    [mine] = claims(client, bench.instance)
    client.remove_volume(mine)
    await bench.runtime.sightings()
    [mine] = claims(client, bench.instance)
    client.remove_volume(mine)
    other = runtime_of(bench.instance)
    await other.open()
    with pytest.raises(EngineUnavailable, match="cannot run the instance"):
        await bench.runtime.sightings()
    await other.close()
    await bench.runtime.sightings()


@pytest.mark.docker
async def test_a_daemon_in_a_container_reaches_by_name_and_dies_with_its_container(
    client: docker.APIClient, instance: str, network: str
) -> None:
    """Its process can't be seen from here, its container can. On another network it is told to join."""
    repo = Path(__file__).parents[3]
    box = client.create_container(
        BASE,
        ["python3", "-c", HOLD, instance, network],
        environment={"PYTHONPATH": "/repo:/site"},
        stdin_open=True,
        host_config=client.create_host_config(
            network_mode=network,
            binds=[
                f"{repo}:/repo:ro",
                f"{site.getsitepackages()[0]}:/site:ro",
                "/var/run/docker.sock:/var/run/docker.sock",
            ],
        ),
    )["Id"]
    try:
        client.start(box)
        await eventually(lambda: client.logs(box).endswith(b"\nname\n"))
        [holder] = claims(client, instance).values()
        assert holder.container_id == box
        second = runtime_of(instance)
        with pytest.raises(AlreadyRunning, match="/elsewhere"):
            await second.open()
        client.kill(box)
        client.wait(box)
        await second.open()
        await second.close()
    finally:
        client.remove_container(box, force=True)
