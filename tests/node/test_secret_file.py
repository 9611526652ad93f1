"""The file with the node's secret is read again while orchd runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchd import tasks
from orchd.domain.model import Secret
from orchd.errors import SettingsError
from orchd.node.secret_file import SecretFile
from orchd.settings.secrets import ENDS_IN_A_NEWLINE, SecretInUse, read_secret_text
from tests.advertise.rig import until


class Rig:
    """Attributes:
    used: secrets that were handed over.
    """

    def __init__(self, path: Path, look_s: float = 1000.0) -> None:
        self.path = path
        self.used: list[Secret | None] = []
        text = read_secret_text("orchestrator.secret_file", str(path), {})
        self.in_use = SecretInUse(text.secret if text else None, self.used.append)
        self.file = SecretFile(str(path), {}, text, self.in_use, look_s)

    def write(self, text: str | None) -> None:
        """Write the file, or remove it."""
        if text is None:
            self.path.unlink()
        else:
            self.path.write_text(text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "secret"
    path.write_text("first")
    return path


async def test_a_changed_file_is_used_and_one_that_is_as_it_was_is_not(path: Path) -> None:
    rig = Rig(path)
    await rig.file.look()
    assert rig.used == []
    rig.write("second\n")
    await rig.file.look()
    await rig.file.look()
    assert rig.used == [Secret("second")]
    assert rig.in_use.now == Secret("second")
    assert rig.file.seen.around == ENDS_IN_A_NEWLINE
    rig.write("second")
    await rig.file.look()
    assert rig.used == [Secret("second")], "what stands around it is no part of it"
    assert rig.file.seen.around == ""
    rig.file.close()


async def test_a_file_is_read_again_by_itself(path: Path) -> None:
    rig = Rig(path, look_s=0.01)
    running = tasks.spawn(rig.file.run(), name="secret file")
    rig.write("second")
    await until("the new secret is used", lambda: rig.used == [Secret("second")])
    await tasks.cancel(running)
    rig.file.close()


async def test_a_file_that_can_not_be_read_changes_nothing_and_is_told_once(path: Path) -> None:
    rig = Rig(path)
    rig.write(None)
    with capture_logs() as logs:
        await rig.file.look()
        await rig.file.look()
    assert [line["event"] for line in logs] == ["secret_refused"]
    assert "first" not in repr(logs)
    assert rig.used == []
    rig.write("second")
    await rig.file.look()
    assert rig.used == [Secret("second")]
    rig.file.close()


async def test_where_no_file_is_named_nothing_is_read() -> None:
    used: list[Secret | None] = []
    file = SecretFile("", {}, None, SecretInUse(None, used.append))
    await file.look()
    assert used == []


@pytest.mark.parametrize(
    ("whole", "secret", "around"),
    [
        ("two words", "two words", ""),
        ("s\n", "s", ENDS_IN_A_NEWLINE),
        ("s\r\n", "s", ENDS_IN_A_NEWLINE),
        ("s ", "s", "ends in a blank"),
        ("s\t", "s", "ends in a blank"),
        ("\ns", "s", "begins with a blank or a newline"),
    ],
)
def test_what_stands_around_a_secret_is_no_part_of_it_and_is_named(
    tmp_path: Path, whole: str, secret: str, around: str
) -> None:
    (tmp_path / "f").write_bytes(whole.encode())
    found = read_secret_text("x", str(tmp_path / "f"), {})
    assert found is not None
    assert (found.secret, found.around) == (Secret(secret), around)


@pytest.mark.parametrize("whole", ["", "\n", "a\nb", "a\x00b", "s\u00a0"])
def test_what_no_header_can_carry_is_no_secret(tmp_path: Path, whole: str) -> None:
    (tmp_path / "f").write_bytes(whole.encode())
    with pytest.raises(SettingsError, match="should be one line of text"):
        read_secret_text("x", str(tmp_path / "f"), {})
