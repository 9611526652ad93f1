"""A machine for the page without systemd: this one, with a daemon, a folder and ports of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker

from orchd.demo.image import build_context
from tests.day_two.walk import MODEL, MODELS, Machine
from tests.docker_images import BASE
from tests.e2e.daemon import kill_processes
from tests.ports import free_port

IMAGE = "acme/paint:1.4"
_DOCKERFILE = f"""\
FROM {BASE}
COPY model.py /model.py
EXPOSE 8000
CMD ["python3", "/model.py"]
"""
_SYSTEMCTL = """\
#!/bin/sh -e
cd "$(dirname "$0")/.."
case "$1 $2" in
"start orchd")
  setsid orchd run >>orchd.log 2>&1 &
  echo $! >pid
  until orchd version | grep -q "^daemon .* at http:"; do sleep 0.1; done ;;
"stop orchd") kill "$(cat pid)"; tail --pid="$(cat pid)" -f /dev/null ;;
*) exit 64 ;;
esac
"""


def make_image() -> None:
    """Build the image of the page's container."""
    files = {"Dockerfile": _DOCKERFILE.encode(), "model.py": MODEL.read_bytes()}
    with contextlib.closing(docker.DockerClient(version="auto")) as client:
        client.images.build(fileobj=build_context(files), custom_context=True, tag=IMAGE, rm=True, forcerm=True)


def remove_containers(instance: str) -> None:
    """Remove what an instance has left in the engine."""
    with contextlib.closing(docker.DockerClient(version="auto")) as client:
        for container in client.containers.list(all=True, filters={"label": f"orchd.instance={instance}"}):
            container.remove(v=True, force=True)


@contextlib.contextmanager
def machine(instance: str, network: str) -> Iterator[Machine]:
    """Yield this machine, with a folder for `/etc/orchd`, and a `systemctl` that starts and stops orchd."""
    make_image()
    etc = Path(tempfile.mkdtemp(dir="/tmp"))
    programs = etc / "bin"
    programs.mkdir()
    jobs, admin = free_port(), free_port()
    (etc / "orchd.toml").write_text(
        f'models_file = "aiModels.json"\nstate_dir = "{etc}/state"\ninstance = "{instance}"\n'
        f'[jobs]\nlisten = ["127.0.0.1:{jobs}"]\n[admin]\nlisten = "127.0.0.1:{admin}"\n'
        f'[docker]\nnetwork = "{network}"\n'
    )
    (etc / "model.py").write_bytes(MODEL.read_bytes())
    (etc / "aiModels.json").write_text(MODELS.read_text().replace("/etc/orchd", str(etc)))
    (programs / "systemctl").write_text(_SYSTEMCTL)
    (programs / "systemctl").chmod(0o700)
    env = {
        "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "ORCHD_CONFIG": str(etc / "orchd.toml"),
        "ETC": str(etc),
        "JOBS": f"http://127.0.0.1:{jobs}",
    }
    varies = {str(etc): "/etc/orchd", instance: "orchd", sys.executable: "/opt/orchd/bin/python3"}
    varies |= {f":{jobs}": ":8737", f":{admin}": ":8738"}
    try:
        here = Machine(["bash", "-s"], env, varies)
        here.meanwhile("systemctl start orchd")
        yield here
    finally:
        with contextlib.suppress(OSError, ValueError):
            os.kill(int((etc / "pid").read_text()), signal.SIGKILL)
        kill_processes(instance)
        remove_containers(instance)
        shutil.rmtree(etc)
