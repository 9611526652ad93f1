"""Images that tests launch, built once from what is on the machine.

The base is a Debian with Python 3.11 that `.ci/run` makes (`orchd-test-base:latest`); ORCHD_TEST_BASE names another.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import docker
from docker.errors import ImageNotFound

from orchd.demo.image import build_context

BASE = os.environ.get("ORCHD_TEST_BASE", "orchd-test-base:latest")
RUNNER = "orchd-test-runner:latest"
"""`tests/runners/scripted.py` on port 8000; its script comes in the variable SCRIPT, as JSON."""

_CONTENT = "orchd.test.content"
_DOCKERFILE = f"""\
FROM {BASE}
COPY scripted.py /scripted.py
EXPOSE 8000
CMD ["python3", "-u", "/scripted.py"]
"""


def runner_image() -> str:
    """Build `RUNNER` unless it is there as it would be built now; return its name."""
    with contextlib.closing(docker.DockerClient(version="auto")) as client:
        base = client.images.get(BASE)
        files = {
            "Dockerfile": _DOCKERFILE.encode(),
            "scripted.py": (Path(__file__).parent / "runners" / "scripted.py").read_bytes(),
        }
        content = hashlib.sha256(repr((base.id, sorted(files.items()))).encode()).hexdigest()
        try:
            if client.images.get(RUNNER).labels.get(_CONTENT) == content:
                return RUNNER
        except ImageNotFound:
            pass
        client.images.build(
            fileobj=build_context(files),
            custom_context=True,
            tag=RUNNER,
            labels={_CONTENT: content},
            rm=True,
            forcerm=True,
        )
    return RUNNER


def small_image(tag: str) -> None:
    """Make `tag`, an image of some kilobytes that can't be run: for pulls."""
    with contextlib.closing(docker.DockerClient(version="auto")) as client:
        files = {"Dockerfile": b"FROM scratch\nCOPY file /file\n", "file": os.urandom(200_000)}
        client.images.build(fileobj=build_context(files), custom_context=True, tag=tag, rm=True, forcerm=True)
