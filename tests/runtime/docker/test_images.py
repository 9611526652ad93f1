"""Pulls by a real Docker Engine, from a real registry on loopback and from ones that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import socket
import subprocess
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import docker
import pytest
from docker.errors import ImageNotFound

from orchd.errors import Code, EngineUnavailable, LaunchError
from orchd.runtime.docker.engine import PULLS
from orchd.tasks import cancel, spawn
from tests.docker_images import small_image
from tests.ports import free_port
from tests.runners.local import BOUND_S
from tests.runtime.bench import Bench, runner_of

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str], str]) -> Iterator[str]:
    """host:port of an empty registry (Debian package docker-registry)."""
    program = needs("docker-registry")
    folder: Path = tmp_path_factory.mktemp("registry")
    address = f"127.0.0.1:{free_port()}"
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {folder}/data\nhttp:\n  addr: {address}\n"
    )
    with (folder / "log").open("wb") as log:
        serving = subprocess.Popen([program, "serve", config], stdout=log, stderr=log)
    try:
        host, port = address.split(":")
        late = time.monotonic() + BOUND_S
        while True:
            try:
                socket.create_connection((host, int(port))).close()
                break
            except OSError:
                assert serving.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < late, "the registry does not come up"
                time.sleep(0.05)
        yield address
    finally:
        serving.terminate()
        serving.wait()


@pytest.fixture
def pushed(client: docker.APIClient, registry: str) -> Iterator[str]:
    """An image that is in the registry and not on the engine."""
    name = f"{registry}/team/image-{secrets.token_hex(4)}:v1"
    small_image(name)
    for line in client.push(name, stream=True, decode=True):
        assert "error" not in line, line
    client.remove_image(name)
    yield name
    remove_image(client, name)


def remove_image(client: docker.APIClient, name: str) -> None:
    try:
        client.remove_image(name, force=True)
    except ImageNotFound:
        return


async def prepare(bench: Bench, image: str, pull: str = "missing") -> list[str]:
    """Prepare a runner of `image`; return the lines of progress."""
    wanted = bench.model(f"org/{secrets.token_hex(4)}", image=image, pull=pull, args=("/file",))
    lines: list[str] = []
    await bench.runtime.prepare(wanted, runner_of(wanted), lines.append)
    return lines


async def test_a_missing_image_is_pulled_with_progress_and_then_is_there(bench: Bench, pushed: str) -> None:
    lines = await prepare(bench, pushed)
    assert lines[0].startswith(f"pulling {pushed}")
    assert await prepare(bench, pushed) == []
    assert await prepare(bench, pushed, "never") == []


async def test_always_pulls_even_what_is_there(bench: Bench, pushed: str) -> None:
    await prepare(bench, pushed)
    assert (await prepare(bench, pushed, "always"))[0].startswith(f"pulling {pushed}")


async def test_never_says_how_to_get_it(bench: Bench) -> None:
    with pytest.raises(LaunchError, match=r"cannot use no-such-image:v1: .* docker pull no-such-image:v1") as info:
        await prepare(bench, "no-such-image:v1", "never")
    assert info.value.code is Code.IMAGE_UNAVAILABLE


async def test_a_tag_that_is_not_there(bench: Bench, pushed: str) -> None:
    missing = pushed.replace(":v1", ":v2")
    with pytest.raises(LaunchError, match=f"cannot pull {missing}: the registry has no such image or tag") as info:
        await prepare(bench, missing)
    assert info.value.code is Code.IMAGE_UNAVAILABLE


async def test_a_registry_that_is_down(bench: Bench) -> None:
    image = f"127.0.0.1:{free_port()}/x:v1"
    with pytest.raises(LaunchError, match=f"cannot pull {image}: its registry can't be reached") as info:
        await prepare(bench, image)
    assert info.value.code is Code.REGISTRY_UNAVAILABLE


@pytest.mark.parametrize(
    ("status", "code"),
    [
        *((status, Code.REGISTRY_UNAVAILABLE) for status in (408, 429, 500, 503)),
        *((status, Code.IMAGE_UNAVAILABLE) for status in (401, 403, 404)),
    ],
)
async def test_a_registry_that_answers_with_an_error_passes_or_does_not(bench: Bench, status: int, code: Code) -> None:
    answer = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
    async with fake_registry(answer, greets=True) as fake:
        with pytest.raises(LaunchError, match=f"cannot pull {fake.image}: ") as info:
            await prepare(bench, fake.image)
        assert info.value.code is code


async def test_a_registry_that_wants_a_login(bench: Bench) -> None:
    refusal = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="r"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    async with fake_registry(refusal) as fake:
        with pytest.raises(LaunchError, match=f"cannot pull {fake.image}: the registry refuses us; docker login"):
            await prepare(bench, fake.image)


@pytest.mark.parametrize("config", ['{"credsStore": "not-installed"}', "[]", '{"auths": {"x": 3}}', "{"])
async def test_an_odd_docker_configuration_keeps_no_public_image_away(
    bench: Bench, pushed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, config: str
) -> None:
    """Nor the engine: the docker package can't even make a client then."""
    (tmp_path / "config.json").write_text(config)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    await bench.runtime.close()
    bench.runtime = bench.fresh()
    await bench.runtime.open()
    assert (await prepare(bench, pushed))[0].startswith(f"pulling {pushed}")


async def test_a_private_image_that_fails_for_its_credential_helper_names_that(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"credsStore": "not-installed"}')
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    refusal = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="r"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    async with fake_registry(refusal) as fake:
        with pytest.raises(LaunchError, match=r"docker-credential-not-installed, .* is not on PATH"):
            await prepare(bench, fake.image)


async def test_credentials_are_given_to_the_registry(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = b'HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm="r"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'
    async with fake_registry(refusal) as fake:
        auths = {fake.image.partition("/")[0]: {"auth": b64encode(b"user:s3cret").decode()}}
        (tmp_path / "config.json").write_text(json.dumps({"auths": auths}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        with pytest.raises(LaunchError, match="the registry refuses us"):
            await prepare(bench, fake.image)
        assert any(b"Basic " + b64encode(b"user:s3cret") in head for head in fake.heads)


@pytest.mark.parametrize("name", ["Upper/Case", "a b", "http://x/y", "x:y:z", "", "../../x"])
async def test_what_is_no_name_of_an_image_is_the_entrys_fault(bench: Bench, name: str) -> None:
    with pytest.raises(LaunchError) as info:
        await prepare(bench, name)
    assert info.value.message.startswith("cannot ")


async def test_a_pull_that_stalls_is_given_up(bench: Bench) -> None:
    await bench.runtime.close()
    bench.runtime = bench.fresh(pull_stall_s=0.3)
    await bench.runtime.open()
    async with fake_registry() as fake:
        with pytest.raises(LaunchError, match=f"cannot pull {fake.image}: no progress for 0.3 s") as info:
            await prepare(bench, fake.image)
        assert info.value.code is Code.REGISTRY_UNAVAILABLE


async def test_cancelled_pulls_end_at_once_and_leave_nothing(bench: Bench, pushed: str) -> None:
    """As many as there are threads, and one that still waits for its turn; then another pull passes."""
    async with fake_registry() as fake:
        pulls = [spawn(prepare(bench, f"{fake.image}{n}"), name="pull") for n in range(PULLS + 1)]
        async with asyncio.timeout(BOUND_S):
            await fake.asked.wait()
            await cancel(*pulls)
            await prepare(bench, pushed)


async def test_an_engine_that_goes_away_is_not_the_images_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The engine answers the question for the image, then there is no way to it any more."""
    door = tmp_path / "docker.sock"
    door.symlink_to("/var/run/docker.sock")
    await bench.runtime.close()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{door}")
    bench.runtime = bench.fresh()
    await bench.runtime.open()
    has_image = bench.runtime._engine.has_image

    async def then_gone(image: str) -> bool:
        found = await has_image(image)
        door.unlink()
        return found

    monkeypatch.setattr(bench.runtime._engine, "has_image", then_gone)
    with pytest.raises(EngineUnavailable, match="No such file"):
        await prepare(bench, "127.0.0.1:1/x:v1")
    door.symlink_to("/var/run/docker.sock")


class FakeRegistry:
    """Attributes:
    asked: the engine has sent a request that is not answered.
    heads: of all requests.
    """

    def __init__(self, image: str) -> None:
        self.image = image
        self.asked = asyncio.Event()
        self.heads: list[bytes] = []


@asynccontextmanager
async def fake_registry(answer: bytes | None = None, *, greets: bool = False) -> AsyncIterator[FakeRegistry]:
    """A registry that answers every request with `answer`, or says that it is one and then nothing more.

    Args:
        greets: it says that it is one, and then answers with `answer`.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.append(asyncio.current_task())
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            if (first := await reader.read(1)) in (b"", b"\x16"):  # a TLS greeting: the engine tries again without
                return
            head = first + await reader.readuntil(b"\r\n\r\n")
            fake.heads.append(head)
            if answer is not None and not (greets and head.startswith(b"GET /v2/ ")):
                writer.write(answer)
            elif head.startswith(b"GET /v2/ "):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            else:
                fake.asked.set()
                await closing.wait()

    closing = asyncio.Event()
    serving: list[asyncio.Task[None] | None] = []
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    fake = FakeRegistry(f"127.0.0.1:{server.sockets[0].getsockname()[1]}/x:v1")
    async with server:
        yield fake
        closing.set()
        await asyncio.gather(*filter(None, serving))


async def test_a_check_before_a_restart_pulls_and_touches_no_container(
    bench: Bench, pushed: str, client: docker.APIClient
) -> None:
    """The image that is pushed names no program, so only an entry that does can run it."""
    wanted = bench.model("org/checked", image=pushed, pull="always", args=("/file",))
    lines: list[str] = []
    await bench.runtime.check(wanted, lines.append)
    assert lines[0].startswith(f"pulling {pushed}")
    assert not client.containers(all=True, filters={"label": f"orchd.instance={bench.instance}"})
    with pytest.raises(LaunchError, match=f"cannot run {pushed}: the image names no program"):
        await bench.runtime.check(bench.model("org/checked", image=pushed, pull="never"), lines.append)
