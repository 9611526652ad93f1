"""orchd's own image: `deploy/Dockerfile`, with the packages of this environment in place of those from the registry."""

from __future__ import annotations

import json
import re
import subprocess
import sysconfig
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker_images import BASE

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
PROGRAM = """\
#!/bin/sh
PYTHONPATH=/src:/site exec python3 -m orchd "$@"
"""

pytestmark = pytest.mark.docker


def docker(*words: str, ok: bool = True, stdin: str | None = None) -> str:
    """Run the `docker` program as an operator does, and return all that it printed."""
    done = subprocess.run(
        ["docker", *words], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120
    )
    assert (done.returncode == 0) is ok, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Build the image's last stage. What the first stage would install is mounted when it runs."""
    name = f"orchd-test-image:{uuid.uuid4().hex[:8]}"
    stage = DOCKERFILE.rpartition("\nFROM ")[2]
    copied = "COPY --from=build /opt/orchd /opt/orchd\n"
    assert copied in stage
    stage = stage.replace("${BASE}", BASE).replace(copied, "COPY orchd /opt/orchd/bin/orchd\n")
    folder = tmp_path_factory.mktemp("image")
    (folder / "orchd").write_text(PROGRAM)
    (folder / "orchd").chmod(0o755)
    (folder / "Dockerfile").write_text(f"FROM {stage}")
    docker("build", "--quiet", "--tag", name, str(folder))
    yield name
    docker("rmi", "--force", name)


MOUNTS = (
    *("--volume", f"{ROOT}:/src:ro"),
    *("--volume", f"{sysconfig.get_path('purelib')}:/site:ro"),
)


@pytest.fixture
def models(tmp_path: Path) -> tuple[str, ...]:
    tmp_path.chmod(0o755)
    (tmp_path / "aiModels.json").write_text('[{"pipeline": "llm", "model_id": "m", "url": "http://127.0.0.1:9"}]')
    return ("--volume", f"{tmp_path}:/etc/orchd:ro")


def test_all_that_it_is_built_from_is_in_the_context(tmp_path: Path) -> None:
    """`.dockerignore` names what is: Docker itself says whether it leaves something out."""
    copied = re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE)
    assert copied
    (tmp_path / "Dockerfile").write_text("\n".join(["FROM scratch", *(f"COPY {words}" for words in copied)]))
    name = f"orchd-test-context:{uuid.uuid4().hex[:8]}"
    docker("build", "--quiet", "--tag", name, "--file", str(tmp_path / "Dockerfile"), str(ROOT))
    docker("rmi", "--force", name)


def test_any_command_can_be_run_in_it(image: str, models: tuple[str, ...]) -> None:
    assert "1 model, 0 errors" in docker("run", "--rm", *MOUNTS, *models, image, "check")


def test_without_one_it_is_the_daemon_which_others_reach_and_which_tells_whether_it_lives(
    image: str, models: tuple[str, ...]
) -> None:
    """Its listeners are open to the container's network; the health check is Docker's own, sooner than by default."""
    name = f"orchd-test-{uuid.uuid4().hex[:8]}"
    try:
        docker(
            *("run", "--detach", "--name", name, "--health-interval", "0.5s", "--env", "ORCHD_DOCKER_ENABLED=false"),
            *(*MOUNTS, *models, image),
        )
        for _ in range(200):
            health = json.loads(docker("inspect", "--format", "{{json .State.Health}}", name))
            if health["Status"] == "healthy":
                break
            docker("exec", name, "sleep", "0.3")
        assert health["Status"] == "healthy", docker("logs", name)
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).strip()
        for port in re.findall(r"^EXPOSE (\d+) (\d+)", DOCKERFILE, re.MULTILINE)[0]:
            # From outside, as a neighbour would; the job listener knows no such page, and says so.
            try:
                with urllib.request.urlopen(f"http://{address}:{port}/healthz", timeout=60) as answer:
                    assert answer.status == 200
            except urllib.error.HTTPError as refused:
                assert (port, refused.code) == ("8737", 404)  # noqa: PT017
        docker("stop", "--time", "90", name)
        assert '"event": "orchd_stopped"' in docker("logs", name)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
    finally:
        docker("rm", "--force", name)
