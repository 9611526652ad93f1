"""A slip on the command line is named with what was meant, for every flag and command that there is."""

from __future__ import annotations

import contextlib
import re
from importlib import import_module

import pytest

from orchd.cli import COMMANDS as LINES
from orchd.cli import GROUPS, build_parser, main, sentence
from orchd.cli.parser import parse
from orchd.settings.names import nearest_name
from orchd.settings.tree import SETTINGS

PARSER = build_parser()
COMMANDS = PARSER.commands


def needed(command: str) -> list[str]:
    """Return words for what a command can't be without, and a model for one that takes several."""
    arguments = [one for one in COMMANDS[command].arguments() if one.required or one.nargs == "*"]
    words = [(one.option_strings[:1], str(next(iter(one.choices or ["m"])))) for one in arguments]
    return [word for flag, value in words for word in (*flag, value)]


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return what is said; one line, and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        parse(PARSER, argv)
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (2, "", 1)
    assert said.err.startswith("orchd: cannot ")
    return said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_flag_of_each_command_is_found_by_its_misspelling(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    known = COMMANDS[command].flags()
    for flag in known:
        swapped = f"{flag[:-2]}{flag[-1]}{flag[-2]}"
        slip = swapped if swapped != flag else flag[:-1]
        said = refused(capsys, command, *needed(command), f"{slip}=value")
        assert f"cannot use unknown flag {slip}: the nearest one of `orchd {command}` is {flag}; " in said


def test_a_flag_of_another_command_is_named_as_that(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "status", "--jobs-listen=127.0.0.1:1")
    assert "cannot use --jobs-listen with `orchd status`: it is a flag of `orchd run`, `orchd down`" in said


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("statsu",), "cannot use 'statsu' as a command: did you mean status? Possible are status, "),
        (("demo", "--runtime", "dokcer"), "cannot use 'dokcer' as --runtime: did you mean docker?"),
        (("schema", "x"), "cannot use 'x': `orchd schema` takes no more arguments"),
        (("help", "statsu"), "cannot use 'statsu' as a command: did you mean status? "),
        (("status", "--admin", "x"), "the nearest one of `orchd status` is --admin-listen"),
        (("run", "--listen", "x"), "is --jobs-listen"),
        (
            ("--verson",),
            "cannot use unknown flag --verson: the nearest one of `orchd` is --version; see `orchd --help`",
        ),
        (("--hlep", "status"), "cannot use unknown flag --hlep: the nearest one of `orchd` is --help"),
        (("--json", "status"), "cannot use --json before a command: write `orchd status --json`, `orchd "),
        (("--strict=yes", "check"), "cannot use --strict before a command: write `orchd check --strict`"),
        (("status", "-j"), "cannot use unknown flag -j: "),
    ],
)
def test_other_slips(argv: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert words in refused(capsys, *argv)


def printed(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return what a command prints that only helps, and ends with 0."""
    with contextlib.suppress(SystemExit) as _, pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "80")
        assert main(argv) == 0
    said = capsys.readouterr()
    assert said.err == ""
    return said.out


def test_without_a_command_the_help_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: orchd ")
    assert printed(capsys) == printed(capsys, "help") == printed(capsys, "--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_is_the_same_either_way(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "help", command) == printed(capsys, command, "--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_says_what_it_does_and_fits_80_columns(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, command, "--help")
    assert max(map(len, out.splitlines())) <= 80
    words = " ".join(out.split())
    assert sentence(LINES[command]) in words
    assert " ".join(getattr(import_module(f"orchd.cli.{command}"), "ABOUT", "").split()) in words


def test_the_help_names_each_command_once_in_its_group_and_fits_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    out = printed(capsys)
    assert max(map(len, out.splitlines())) <= 80
    found, title = [], ""
    for line in out.splitlines():
        if line.endswith(":") and not line.startswith(" "):
            title = line[:-1]
        elif title in GROUPS and (name := line[2:].partition(" ")[0]):
            found.append((title, name))
    assert found == [(title, name) for title, names in GROUPS.items() for name in names]


def test_a_setting_is_found_by_its_misspelling_wherever_it_is_written() -> None:
    names = list(SETTINGS)
    for spelled in (names, [one.flag for one in SETTINGS.values()], [one.env for one in SETTINGS.values()]):
        for name in spelled:
            for slip in (name + "S", name[:-1], name[:-2] + name[-1] + name[-2]):
                assert nearest_name(slip, spelled) == name or slip in spelled
    assert nearest_name("hold_limit", names) == "jobs.hold_limit"
    assert nearest_name("admin.hold_limit", names) == "jobs.hold_limit"
    assert nearest_name("job.listen", names) == "jobs.listen"


def test_the_help_of_down_names_only_the_settings_that_it_needs_and_takes_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = printed(capsys, "down", "--help")
    assert set(re.findall(r"--[a-z-]+", out)) == {
        *("--help", "--config", "--state-dir", "--instance", "--docker-enabled"),
        *("--orchestrator-service-url", "--orchestrator-secret-file"),
    }
    parse(build_parser(), ["down", "--jobs-listen", "127.0.0.1:1"])
