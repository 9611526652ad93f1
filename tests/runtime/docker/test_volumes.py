"""What a container gets of the host's files."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.catalog.values import VOLUME, fits
from orchd.errors import Code, LaunchError
from orchd.runtime.docker.spec import launch_failure
from orchd.runtime.docker.volumes import host_path, volume_spec

OWN: list[dict[str, Any]] = [
    {"Type": "bind", "Source": "/srv/orchd", "Destination": "/etc/orchd"},
    {"Type": "bind", "Source": "/data/models", "Destination": "/etc/orchd/models"},
    {"Type": "volume", "Source": "/var/lib/docker/volumes/state/_data", "Destination": "/var/lib/orchd"},
    {"Type": "tmpfs", "Source": "", "Destination": "/etc/orchd/scratch"},
]


@pytest.mark.parametrize(
    ("volume", "mount"),
    [
        ("/a:/b", {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": False}),
        ("/a b:/b:ro", {"Type": "bind", "Source": "/a b", "Target": "/b", "ReadOnly": True}),
        (
            "/a:/b:rw,rshared",
            {
                "Type": "bind",
                "Source": "/a",
                "Target": "/b",
                "ReadOnly": False,
                "BindOptions": {"Propagation": "rshared"},
            },
        ),
        ("/a:/b:cached", {"Type": "bind", "Source": "/a", "Target": "/b", "ReadOnly": False, "Consistency": "cached"}),
        ("name:/b:ro", {"Type": "volume", "Source": "name", "Target": "/b", "ReadOnly": True}),
        (
            "name:/b:nocopy",
            {
                "Type": "volume",
                "Source": "name",
                "Target": "/b",
                "ReadOnly": False,
                "VolumeOptions": {"NoCopy": True},
            },
        ),
    ],
)
def test_volumes_become_mounts_which_make_no_folders(volume: str, mount: dict[str, Any]) -> None:
    assert fits(VOLUME, volume)
    assert volume_spec([volume], str) == {"Mounts": [mount], "Binds": []}


def test_only_an_selinux_label_still_asks_for_a_bind() -> None:
    assert volume_spec(["/a:/b:ro,z", "/c:/d:Z"], "/host".__add__) == {
        "Mounts": [], "Binds": ["/host/a:/b:ro,z", "/host/c:/d:Z"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "on_host"),
    [
        ("/etc/orchd/cache", "/srv/orchd/cache"),
        ("/etc/orchd", "/srv/orchd"),
        ("/etc/orchd/models", "/data/models"),
        ("/etc/orchd/models/a/b", "/data/models/a/b"),
        ("/etc/orchd/modelsx", "/srv/orchd/modelsx"),
        ("/etc/orchdx", "/etc/orchdx"),
        ("/srv/other", "/srv/other"),
        ("/var/lib/orchd/x", "/var/lib/orchd/x"),
    ],
)
def test_what_lies_beside_the_file_is_translated_by_orchd_s_own_mounts(path: str, on_host: str) -> None:
    assert host_path(path, "/etc/orchd", OWN) == on_host


@given(st.lists(st.sampled_from(["a", "models", "scratch", "x y"]), max_size=4))
def test_a_folder_that_is_mounted_at_the_same_place_is_left_as_it_is(names: list[str]) -> None:
    path = "/".join(["/etc/orchd", *names])
    own = [{"Type": "bind", "Source": "/etc/orchd", "Destination": "/etc/orchd"}]
    assert host_path(path, "/etc/orchd", own) == path


@pytest.mark.parametrize("own", [[], OWN[2:]])
def test_what_lies_inside_orchd_s_container_alone_is_refused(own: list[dict[str, Any]]) -> None:
    with pytest.raises(LaunchError) as caught:
        host_path("/etc/orchd/cache", "/etc/orchd", own)
    assert caught.value.code is Code.VOLUME_MISSING
    assert "docker run --volume" in caught.value.message


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ('invalid mount config for type "bind": bind source path does not exist: /a/b', "mkdir -p /a/b"),
        ('invalid mount config for type "bind": bind source path does not exist: /a b', "mkdir -p '/a b'"),
        ('invalid mount config for type "bind": bind source path does not exist', "make it"),
    ],
)
def test_what_the_engine_says_of_a_missing_path_names_the_way_out(reason: str, said: str) -> None:
    error = launch_failure("create the container of llm/a", reason)
    assert error.code is Code.VOLUME_MISSING
    assert said in error.message
