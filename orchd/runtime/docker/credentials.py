"""Docker's own credentials for a registry: what `docker login` has written, or what a credential helper gives out.

A file or helper that does not work costs only the credentials: most images need none. What is wrong is
reported where it matters: when the registry then refuses us. No secret and no output of a helper is ever reported.

Sources: docs.docker.com/reference/cli/docker/login (configuration file), github.com/docker/docker-credential-helpers.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from typing import Any

from orchd.threads import DaemonThreads

HELPER_TIMEOUT_S = 15.0
"""Some ask a service on the network; a person who is asked for a password is not there."""
MOST_BYTES = 65536
"""Largest answer of a helper that is read; a token takes a few thousand."""
DOCKER_HUB = "https://index.docker.io/v1/"
NOT_FOUND = b"credentials not found in native keychain"

_threads = DaemonThreads("docker-credentials", 4)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the engine is given to log in to a registry of images.

    Attributes:
        auth: as the engine takes it; empty = none.
        trouble: why there are none though there might be; empty = nothing is wrong.
    """

    auth: Mapping[str, str] = field(default_factory=dict, repr=False)
    trouble: str = ""


class _Unusable(Exception):
    """A file or helper does not work; the text says which and how."""


async def credentials_for(image: str, environment: Mapping[str, str] = os.environ) -> Credentials:
    """Return what there is for the registry of `image`. Takes at most about `HELPER_TIMEOUT_S`; never raises."""
    try:
        return await _threads.run(lambda: find(registry_of(image), environment), HELPER_TIMEOUT_S + 5)
    except TimeoutError:
        return Credentials(trouble=f"reading {config_path(environment)} takes too long; does its disk answer?")


def registry_of(image: str) -> str:
    """Return the registry's host, as Docker reads names of images; Docker Hub's is a URL, for historical reasons."""
    host, slash, _ = image.partition("/")
    if not slash or not (host == "localhost" or "." in host or ":" in host):
        return DOCKER_HUB
    return DOCKER_HUB if host in ("docker.io", "index.docker.io") else host


def config_path(environment: Mapping[str, str]) -> Path:
    folder = environment.get("DOCKER_CONFIG") or os.path.join(environment.get("HOME") or "/root", ".docker")  # noqa: PTH118
    return Path(folder, "config.json")


def find(registry: str, environment: Mapping[str, str]) -> Credentials:
    """Read Docker's configuration file and ask the helper that it names. Blocks."""
    path = config_path(environment)
    try:
        config = _config(path)
        helper = _helper_of(config, registry, path)
        auth = _ask(helper, registry, path, environment) if helper else None
    except _Unusable as unusable:
        return Credentials(trouble=str(unusable))
    try:
        return Credentials(auth or _written(config, registry))
    except (ValueError, TypeError, AttributeError, KeyError):
        return Credentials(trouble=f"the entry of {registry} in {path} can't be read; docker login writes it again")


def _config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise _Unusable(f"{path} can't be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise _Unusable(f"{path} is no JSON: {exc}") from exc
    if not isinstance(config, dict):
        raise _Unusable(f"{path} is not a JSON object")
    return config


def _helper_of(config: Mapping[str, Any], registry: str, path: Path) -> str:
    """Return the name of the helper that has the registry's credentials; empty = none has."""
    helpers = config.get("credHelpers") or {}
    if not isinstance(helpers, dict):
        raise _Unusable(f"credHelpers in {path} is not an object")
    host = "docker.io" if registry == DOCKER_HUB else registry
    name = helpers.get(registry) or helpers.get(host) or config.get("credsStore") or ""
    if not isinstance(name, str) or not re.fullmatch(r"[\w.-]*", name):
        raise _Unusable(f"{path} names a credential helper that can't be one: {name!r}")
    return name


def _ask(helper: str, registry: str, path: Path, environment: Mapping[str, str]) -> dict[str, str] | None:
    """Return what a helper gives out; None = it has nothing for the registry."""
    program = f"docker-credential-{helper}"
    named = f"the credential helper {program}, which {path} names for {registry},"
    found = shutil.which(program, path=environment.get("PATH", os.defpath))
    if found is None:
        raise _Unusable(f"{named} is not on PATH: install it, or take it out of that file")
    try:
        status, answer = _run([found, "get"], registry.encode() + b"\n", environment)
    except TimeoutError as exc:
        raise _Unusable(f"{named} did not answer within {HELPER_TIMEOUT_S:g} s") from exc
    except OSError as exc:
        raise _Unusable(f"{named} can't be run: {exc.strerror}") from exc
    if status != 0:
        if NOT_FOUND in answer:
            return None
        by_hand = f"echo {registry} | {program} get"
        raise _Unusable(f"{named} failed with exit code {status}; see what it says to: {by_hand}")
    try:
        given = json.loads(answer)
        user, secret = given["Username"], given["Secret"]
        if not (isinstance(user, str) and isinstance(secret, str)):
            raise TypeError("no text")
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise _Unusable(f"{named} gave an answer that can't be read") from exc
    if not (user or secret):
        return None
    if user == "<token>":
        return {"identitytoken": secret, "serveraddress": registry}
    return {"username": user, "password": secret, "serveraddress": registry}


def _run(argv: list[str], question: bytes, environment: Mapping[str, str]) -> tuple[int, bytes]:
    """Run a program and return its exit code and what it printed; all that it started is killed when it is late.

    Raises:
        TimeoutError: late, or it prints without end.
        OSError: it can't be run.
    """
    deadline = time.monotonic() + HELPER_TIMEOUT_S
    child = subprocess.Popen(  # noqa: S603 - the operator's own helper
        argv,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        with child.stdin as stdin, child.stdout as stdout:
            try:
                os.write(stdin.fileno(), question)  # far less than a pipe holds
                stdin.close()
            except BrokenPipeError:
                pass  # it does not read its question
            answer = b""
            while (left := deadline - time.monotonic()) > 0 and len(answer) <= MOST_BYTES:
                if not select([stdout], [], [], left)[0]:
                    break
                if not (piece := os.read(stdout.fileno(), MOST_BYTES)):
                    return child.wait(max(0.0, deadline - time.monotonic())), answer
                answer += piece
        raise TimeoutError
    except subprocess.TimeoutExpired as exc:
        raise TimeoutError from exc
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def _written(config: Mapping[str, Any], registry: str) -> dict[str, str]:
    """Return what `docker login` has written into the file itself."""
    auths = config.get("auths") or {}
    entry = auths.get(registry) or next((each for key, each in auths.items() if _host(key) == _host(registry)), None)
    if not entry:
        return {}
    if token := entry.get("identitytoken"):
        return {"identitytoken": str(token), "serveraddress": registry}
    if text := entry.get("auth"):
        user, colon, secret = base64.b64decode(text, validate=True).decode().partition(":")
        if not colon:
            raise ValueError("no password")
        return {"username": user, "password": secret.rstrip("\0"), "serveraddress": registry}
    if entry.get("username"):
        return {"username": str(entry["username"]), "password": str(entry["password"]), "serveraddress": registry}
    return {}


def _host(address: str) -> str:
    return re.sub(r"^https?://", "", address).partition("/")[0]
