"""EDGE. The demo on a Docker Engine: an image of the sample model, and the removal of all that bears its label."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from docker.errors import APIError, DockerException, ImageNotFound
from docker.utils import parse_repository_tag

from orchd.errors import OrchdError
from orchd.reasons import why
from orchd.runtime.docker.client import new_client
from orchd.runtime.docker.credentials import Credentials, find, registry_of
from orchd.runtime.docker.pulls import PullProgress, pull_error
from orchd.runtime.docker.spec import INSTANCE

LOCAL_BASE, PULLED_BASE = "orchd-test-base:latest", "python:3.11-slim"
CALL_TIMEOUT_S = 120

# The label comes first: whatever a broken off build leaves bears it.
_DOCKERFILE = """\
FROM {base}
LABEL {label}
COPY green_tint.py /green_tint.py
EXPOSE 8000
CMD ["python3", "-u", "/green_tint.py"]
"""


class DemoEngine:
    """The Docker Engine, as the demo uses it.

    Args:
        instance: of the demo's daemon.

    Raises:
        OrchdError: by every method, where the engine can't be reached or refuses.
    """

    def __init__(self, instance: str) -> None:
        self.image = f"orchd-{instance}:latest"
        self._label = f"{INSTANCE}={instance}"
        self._pulled = ""
        with _told("run the demo", "; does it run? `orchd demo --runtime process` needs none"):
            self._client = new_client("auto", CALL_TIMEOUT_S, os.environ)

    def build(self, program: Path, progress: Callable[[str], None]) -> str:
        """Make `image` of the program; return the base that was taken: $ORCHD_DEMO_BASE, else what is there."""
        with _told("build the demo's image"):
            base = os.environ.get("ORCHD_DEMO_BASE") or (LOCAL_BASE if self._has(LOCAL_BASE) else PULLED_BASE)
            if not self._has(base):
                self._pull(base, progress)
            progress(f"building {self.image}")
            dockerfile = _DOCKERFILE.format(base=base, label=self._label)
            context = build_context({"Dockerfile": dockerfile.encode(), "green_tint.py": program.read_bytes()})
            for message in self._client.build(
                fileobj=context, custom_context=True, tag=self.image, rm=True, forcerm=True, decode=True
            ):
                if "error" in message:
                    raise OrchdError(f"cannot build {self.image} from {base}: {message['error']}")
        return base

    def _has(self, image: str) -> bool:
        try:
            self._client.inspect_image(image)  # type: ignore[no-untyped-call]
        except ImageNotFound:
            return False
        return True

    def _pull(self, base: str, progress: Callable[[str], None]) -> None:
        repository, tag = parse_repository_tag(base)
        tracker = PullProgress(base)
        self._pulled = base
        found = find(registry_of(base), os.environ)
        try:
            for message in self._client.pull(
                repository, tag or "latest", stream=True, decode=True, auth_config=dict(found.auth)
            ):
                if "error" in message:
                    raise _no_base(base, str(message["error"]), found)
                tracker.take(message)
                progress(tracker.line())
        except APIError as exc:
            raise _no_base(base, str(exc.explanation or exc), found) from exc

    def close(self) -> None:
        """Remove every container, volume, network and image of the demo, and the base if it had to be pulled."""
        mine = {"label": self._label}
        with _told("remove what the demo made"), contextlib.closing(self._client) as client:
            for container in client.containers(all=True, filters=mine):
                client.remove_container(container["Id"], v=True, force=True)
            for volume in client.volumes(filters=mine)["Volumes"] or ():
                client.remove_volume(volume["Name"])
            for network in client.networks(filters=mine):
                client.remove_network(network["Id"])
            while images := client.images(all=True, filters=mine):
                parents = {image["ParentId"] for image in images}
                for image in images:
                    if image["Id"] not in parents:  # Its unnamed parents go with it.
                        client.remove_image(image["Id"], force=True)
            if self._pulled:
                with contextlib.suppress(ImageNotFound):
                    client.remove_image(self._pulled)


def _no_base(base: str, reason: str, found: Credentials) -> OrchdError:
    why_not = pull_error(base, reason, found.trouble).message
    return OrchdError(f"{why_not}; set ORCHD_DEMO_BASE to an image with python3 that is here")


@contextlib.contextmanager
def _told(what: str, advice: str = "") -> Iterator[None]:
    try:
        yield
    except (DockerException, OSError) as exc:
        where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        raise OrchdError(f"cannot {what} on Docker Engine at {where}: {why(exc)}{advice}") from exc


def build_context(files: dict[str, bytes]) -> io.BytesIO:
    """Return files by name as the tar that an image is built from."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    packed.seek(0)
    return packed
