"""argparse, with errors in few words: what is wrong, and what is the nearest thing that would be right."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from textwrap import TextWrapper
from types import MappingProxyType
from typing import Any, NoReturn

from orchd.settings.names import nearest_name


class Paragraphs(argparse.HelpFormatter):
    """Fills each paragraph of a description or epilog by itself, and keeps paths and flags whole."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        wrapper = TextWrapper(width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
        return "\n\n".join(wrapper.fill(" ".join(one.split())) for one in text.split("\n\n"))


class Parser(argparse.ArgumentParser):
    """Its subparsers are of the same class.

    Attributes:
        commands: their parsers, by name.
        groups: their names and lines of help, by the titles that they stand under in the help; none = all together.
        fill: adds the arguments, once, when they are first asked for.
    """

    commands: Mapping[str, Parser] = MappingProxyType({})
    groups: Mapping[str, Mapping[str, str]] = MappingProxyType({})
    fill: Callable[[Parser], None] | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{"formatter_class": Paragraphs, **options})

    def parse_known_args(self, *args: Any, **options: Any) -> Any:
        self._fill()
        found: Any = super().parse_known_args(*args, **options)
        return found

    def arguments(self) -> list[argparse.Action]:
        """Return what its command line may have."""
        self._fill()
        return self._actions

    def filled(self) -> Parser:
        """Return itself, with its arguments."""
        self._fill()
        return self

    def _fill(self) -> None:
        if self.fill is not None:
            fill, self.fill = self.fill, None
            fill(self)

    def format_help(self) -> str:
        if not self.groups:
            return super().format_help()
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        for title, lines in self.groups.items():
            formatter.start_section(title)
            formatter.add_arguments([argparse.Action([], "", metavar=name, help=line) for name, line in lines.items()])
            formatter.end_section()
        formatter.start_section("options")
        formatter.add_arguments([action for action in self._actions if action.option_strings])
        formatter.end_section()
        formatter.add_text(f"{self.prog} help COMMAND shows what else a command takes.")
        return formatter.format_help()

    def error(self, message: str) -> NoReturn:
        if not message.startswith("cannot "):
            message = f"cannot use this command line: {message}"
        self.exit(2, f"orchd: {message}; see `{self.prog} --help`\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            choices = [str(choice) for choice in action.choices]
            near = nearest_name(str(value), choices)
            what = "/".join(action.option_strings) or "a command"
            self.error(f"cannot use {value!r} as {what}: did you mean {near}? Possible are {', '.join(choices)}")

    def flags(self) -> list[str]:
        """Return the flags by their long names."""
        self._fill()
        return [name for action in self._actions for name in action.option_strings if name.startswith("--")]


def parse(parser: Parser, argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line says; exit with 2, in words, where it can't be used."""
    words = sys.argv[1:] if argv is None else argv
    if not words:
        parser.print_help()
        parser.exit()
    if words and words[0].startswith("-") and words[0].partition("=")[0] not in (*parser.flags(), "-h"):
        parser.error(_before_command(words[0].partition("=")[0], parser))
    args: argparse.Namespace
    args, left = parser.parse_known_args(argv)
    if left:
        parser.commands[args.command].error(_left_over(left, args.command, parser.commands))
    return args


def _before_command(flag: str, parser: Parser) -> str:
    """Return what to say of a flag before the command that `orchd` itself does not have."""
    if owners := [f"orchd {name} {flag}" for name, command in parser.commands.items() if flag in command.flags()]:
        return f"cannot use {flag} before a command: write {_listed(owners)}"
    return f"cannot use unknown flag {flag}: the nearest one of `orchd` is {nearest_name(flag, parser.flags())}"


def _left_over(left: Sequence[str], command: str, commands: Mapping[str, Parser]) -> str:
    """Return what to say of arguments that nothing is known of; the first flag of them is what matters."""
    flag = next((word.partition("=")[0] for word in left if word.startswith("-")), None)
    if flag is None:
        return f"cannot use {left[0]!r}: `orchd {command}` takes no more arguments"
    if owners := [f"orchd {name}" for name, other in commands.items() if flag in other.flags()]:
        return f"cannot use {flag} with `orchd {command}`: it is a flag of {_listed(owners)}"
    near = nearest_name(flag, commands[command].flags())
    return f"cannot use unknown flag {flag}: the nearest one of `orchd {command}` is {near}"


def _listed(lines: Iterable[str]) -> str:
    return ", ".join(f"`{line}`" for line in lines)
