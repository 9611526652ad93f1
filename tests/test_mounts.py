"""What `/proc/self/mountinfo` says of this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchd.mounts import Mount, in_container, is_mount_point, is_private, mounts_in, read_mounts

DOCKER = """\
612 499 0:52 / / rw,relatime master:170 - overlay overlay rw,lowerdir=/x
619 612 8:1 /srv/my\\040models/aiModels.json /etc/orchd/aiModels.json ro,relatime - ext4 /dev/sda1 rw
620 612 8:1 /var/lib/docker/containers/0a/hosts /etc/hosts rw - ext4 /dev/sda1 rw
torn line
"""


def test_mounts_are_read_with_what_of_them_is_mounted() -> None:
    mounts = mounts_in(DOCKER)
    assert mounts[0] == Mount("/", "/", "overlay")
    assert mounts[1] == Mount("/srv/my models/aiModels.json", "/etc/orchd/aiModels.json", "ext4")
    assert len(mounts) == 3
    assert is_mount_point("/etc/orchd/aiModels.json", mounts)
    assert not is_mount_point("/etc/orchd", mounts)


def test_our_own_can_be_read() -> None:
    assert is_mount_point("/", read_mounts())


@pytest.mark.parametrize(
    ("mount", "path", "private"),
    [
        (Mount("/tmp/systemd-private-1-orchd.service-x/tmp", "/tmp", "ext4"), "/tmp/models", True),
        (Mount("/systemd/inaccessible/dir", "/home", "tmpfs"), "/home/me/models", True),
        (Mount("/", "/home", "tmpfs"), "/home/me/models", True),
        (Mount("/", "/mnt/fast", "tmpfs"), "/mnt/fast/models", False),
        (Mount("/tmp/systemd-private-1-orchd.service-x/tmp", "/tmp", "ext4"), "/tmpx/models", False),
        (Mount("/", "/home", "ext4"), "/home/me/models", False),
    ],
)
def test_what_systemd_keeps_from_us_is_known(mount: Mount, path: str, private: bool) -> None:
    assert is_private(path, (Mount("/", "/", "ext4"), mount)) is private


def test_a_container_is_known_by_its_marks(tmp_path: Path) -> None:
    marks = [str(tmp_path / name) for name in ("a", "b")]
    assert not in_container(marks)
    (tmp_path / "b").touch()
    assert in_container(marks)
