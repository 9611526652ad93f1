"""Docker's own credentials: found as `docker login` and helpers leave them; whatever is odd costs only them."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.runtime.docker import credentials
from orchd.runtime.docker.credentials import DOCKER_HUB, Credentials, credentials_for, find, registry_of
from orchd.runtime.docker.pulls import pull_error

REGISTRY = "registry.example:5000"
AUTH = {"username": "user", "password": "s3cret", "serveraddress": REGISTRY}
LOGIN = {"auth": base64.b64encode(b"user:s3cret").decode()}


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    (tmp_path / ".docker").mkdir()
    (tmp_path / "bin").mkdir()
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def write(home: Mapping[str, str], config: Any) -> Path:
    path = Path(home["HOME"], ".docker", "config.json")
    path.write_text(config if isinstance(config, str) else json.dumps(config))
    return path


def helper(home: Mapping[str, str], script: str) -> None:
    """Install the helper `test`."""
    path = Path(home["HOME"], "bin", "docker-credential-test")
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("python:3", DOCKER_HUB),
        ("org/image", DOCKER_HUB),
        ("docker.io/org/image", DOCKER_HUB),
        ("localhost/image", "localhost"),
        ("registry.example:5000/org/image:tag", REGISTRY),
        ("ghcr.io/org/image@sha256:00", "ghcr.io"),
        ("", DOCKER_HUB),
    ],
)
def test_the_registry_of_an_image(image: str, registry: str) -> None:
    assert registry_of(image) == registry


@pytest.mark.parametrize(
    ("config", "auth"),
    [
        ({}, {}),
        ({"auths": {}}, {}),
        ({"auths": {REGISTRY: LOGIN}}, AUTH),
        ({"auths": {f"https://{REGISTRY}/v1/": LOGIN}}, AUTH),
        ({"auths": {REGISTRY: {"username": "user", "password": "s3cret"}}}, AUTH),
        ({"auths": {REGISTRY: {"identitytoken": "t"}}}, {"identitytoken": "t", "serveraddress": REGISTRY}),
        ({"auths": {"other.example": LOGIN}}, {}),
        ({"auths": {REGISTRY: {}}}, {}),
        ({"auths": {"other.example": 3, REGISTRY: LOGIN}}, AUTH),  # what is odd elsewhere is not our matter
    ],
)
def test_what_docker_login_has_written(home: dict[str, str], config: Any, auth: dict[str, str]) -> None:
    write(home, config)
    assert find(REGISTRY, home) == Credentials(auth)


def test_without_a_file_there_are_none_and_nothing_is_wrong(home: dict[str, str]) -> None:
    assert find(REGISTRY, home) == Credentials()


@pytest.mark.parametrize("key", [{"credsStore": "test"}, {"credHelpers": {REGISTRY: "test"}}])
def test_a_helper_is_asked_for_the_registry(home: dict[str, str], key: dict[str, Any]) -> None:
    write(home, key)
    helper(home, f'[ "$1" = get ] && [ "$(cat)" = {REGISTRY} ] && echo \'{{"Username": "user", "Secret": "s3cret"}}\'')
    assert find(REGISTRY, home) == Credentials(AUTH)


def test_a_helper_may_give_a_token(home: dict[str, str]) -> None:
    write(home, {"credsStore": "test"})
    helper(home, 'echo \'{"Username": "<token>", "Secret": "t"}\'')
    assert find(REGISTRY, home) == Credentials({"identitytoken": "t", "serveraddress": REGISTRY})


@pytest.mark.parametrize(
    "script", ["echo credentials not found in native keychain; exit 1", 'echo \'{"Username": "", "Secret": ""}\'']
)
def test_a_helper_that_has_nothing_leaves_it_to_the_file(home: dict[str, str], script: str) -> None:
    write(home, {"credsStore": "test", "auths": {REGISTRY: LOGIN}})
    helper(home, script)
    assert find(REGISTRY, home) == Credentials(AUTH)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("exit 3", "failed with exit code 3"),
        ("cat >/dev/null; echo s3cret", "gave an answer that can't be read"),
        ("echo '[]'", "gave an answer that can't be read"),
        ('echo \'{"Username": 1, "Secret": 2}\'', "gave an answer that can't be read"),
        ("sleep 600 & sleep 600", "did not answer within 0.2 s"),
        ("exec >&-; sleep 600", "did not answer within 0.2 s"),
        ("yes s3cret", "did not answer within 0.2 s"),
        (None, "is not on PATH"),
    ],
)
async def test_a_helper_that_does_not_work_is_named_and_nothing_of_its_output(
    home: dict[str, str], monkeypatch: pytest.MonkeyPatch, script: str | None, says: str
) -> None:
    if "0.2" in says:
        monkeypatch.setattr(credentials, "HELPER_TIMEOUT_S", 0.2)
    path = write(home, {"credsStore": "test"})
    if script is not None:
        helper(home, script)
    found = await credentials_for(f"{REGISTRY}/image", home)
    assert found.auth == {}
    named = f"the credential helper docker-credential-test, which {path} names for {REGISTRY}, {says}"
    assert found.trouble.startswith(named)
    assert "s3cret" not in found.trouble


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ([], "is not a JSON object"),
        ({"credsStore": 3}, "names a credential helper that can't be one: 3"),
        ({"credsStore": "../evil"}, "names a credential helper that can't be one"),
        ({"credHelpers": []}, ""),
        ({"credHelpers": [1]}, "credHelpers in"),
        ({"auths": [1]}, "can't be read"),
        ({"auths": {REGISTRY: "text"}}, "can't be read"),
        ({"auths": {REGISTRY: {"auth": "no base64!"}}}, "can't be read"),
        ({"auths": {REGISTRY: {"auth": base64.b64encode(b"nocolon").decode()}}}, "can't be read"),
    ],
)
def test_a_file_that_does_not_work_is_named(home: dict[str, str], config: Any, says: str) -> None:
    path = write(home, config)
    found = find(REGISTRY, home)
    assert found.auth == {}
    assert says in found.trouble
    assert (str(path) in found.trouble) is bool(says)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.fixed_dictionaries({}, optional={"auths": JSON | st.dictionaries(st.just(REGISTRY), JSON), "credHelpers": JSON})
)
def test_no_configuration_raises(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> None:
    folder = tmp_path_factory.mktemp("docker")
    (folder / "config.json").write_text(json.dumps(config))
    find(REGISTRY, {"DOCKER_CONFIG": str(folder), "PATH": "/none"})


def test_a_registry_that_refuses_is_told_with_what_kept_us_from_asking_by_name() -> None:
    trouble = "the credential helper docker-credential-x is not on PATH"
    for reason in ("pull access denied for x, repository does not exist", "unauthorized", "manifest not found"):
        assert (
            f"without credentials, since {trouble} (Docker says: {reason})" in pull_error("x", reason, trouble).message
        )
    for reason in ("dial tcp: no such host", "no space left on device"):
        assert trouble not in pull_error("x", reason, trouble).message
