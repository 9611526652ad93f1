"""`docs/how-to/paid-jobs.md` and `restore.md` are followed as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from orchd.settings.tree import Settings
from orchd.tickets.ledger.books import MARKER, Books
from tests.day_two.walk import ROOT, check
from tests.tickets.paid_page import BUSY, PAGE, PAINT, TICKETS, machine, pay, take_payments, with_ledger

RESTORE = ROOT / "docs" / "how-to" / "restore.md"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory whose ledger has taken payments."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    with_ledger(folder, take_payments)
    return folder


def test_each_command_prints_what_the_page_says(state: Path) -> None:
    assert len([*check(machine(state), PAGE.read_text())]) == 2


def test_its_settings_are_taken(tmp_path: Path) -> None:
    shown = re.findall(r"^ *```toml\n(.*?)^ *```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    settings, trial = (Settings.model_validate(tomllib.loads(each)) for each in shown)
    assert trial.takes_tickets
    assert (trial.chain.id, trial.public.doors) == (0, ("byoc",))
    assert settings.hooks.order[-1] == "tickets"
    assert (settings.chain.id, settings.public.doors) == (42161, ("byoc",))


def test_its_export_holds_every_winner_once(state: Path) -> None:
    [command] = re.findall(r"^(orchd tickets export .*) > winners.jsonl$", PAGE.read_text(), re.MULTILINE)
    here = machine(state)
    first = [json.loads(line) for line in here.run(command).splitlines() if line.startswith("{")]
    assert len({each["hash"] for each in first}) == len(first) == 8
    assert "{" not in here.run(command)


class Host:
    """Follows the blocks of the page about backups, in a folder of its own. A daemon that starts opens the ledger."""

    def __init__(self, tmp_path: Path, state: Path) -> None:
        self.state = state
        self.backups = tmp_path / "backups"
        programs = tmp_path / "bin"
        programs.mkdir()
        for name, does in {"systemctl": "exit 0", "sudo": 'shift 2; exec "$@"'}.items():
            (programs / name).write_text(f"#!/bin/sh\n{does}\n")
            (programs / name).chmod(0o700)
        here = machine(state)
        self.env = os.environ | here.env | {"PATH": f"{programs}:{here.env['PATH']}"}
        self.python = here.env["PATH"].partition(":")[0] + "/python"

    def follow(self, heading: str) -> None:
        """Type the first block below a heading."""
        [block] = re.findall(
            rf"^## {re.escape(heading)}\n.*?^```\n(.*?)^```$", RESTORE.read_text(), re.MULTILINE | re.DOTALL
        )[:1]
        for name, here in {
            "/var/lib/orchd": str(self.state),
            "/var/backups/orchd": str(self.backups),
            "/opt/orchd/bin/python": self.python,
            "-o orchd -g orchd ": "",
        }.items():
            block = block.replace(name, here)
        done = subprocess.run(["bash", "-ec", block], env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout


async def pays_with_a_ticket_of_the_backup(books: Books) -> None:
    await pay(books, 30, BUSY, PAINT, won=False)


def looks(folder: Path) -> tuple[str, int]:
    """Open the ledger as a start does; return why all terms are void, and how many tickets it knows."""
    tickets = []

    async def count(books: Books) -> None:
        tickets.append(sum(sums.tickets for sums in books.sums().values()))

    return with_ledger(folder, count), tickets[0]


def test_a_database_that_was_put_back_is_known_as_old_at_the_next_start(tmp_path: Path, state: Path) -> None:
    host = Host(tmp_path, state)
    host.follow("Back up")
    assert (host.backups / "orchd.db").stat().st_mode & 0o077 == 0
    with_ledger(state, pays_with_a_ticket_of_the_backup)
    host.follow("Put it back")
    void_why, tickets = looks(state)
    assert "older than the marker" in void_why
    assert tickets == 21 * TICKETS
    assert looks(state) == ("", tickets)
    assert looks(state / "before")[1] == 22 * TICKETS


def test_a_machine_that_was_put_back_as_a_whole_gets_new_secrets_by_hand(tmp_path: Path, state: Path) -> None:
    keys = []

    async def note_keys(books: Books) -> None:
        keys.append({*books.terms_keys.by_id, *books.auth_keys})

    former = {name: (state / name).read_bytes() for name in ("orchd.db", MARKER)}
    with_ledger(state, pays_with_a_ticket_of_the_backup)
    for name, content in former.items():
        (state / name).write_bytes(content)
    (state / "orchd.db-wal").unlink(missing_ok=True)
    assert with_ledger(state, note_keys) == ""  # Nothing shows that it is old.
    Host(tmp_path, state).follow("If the whole machine was put back")
    assert with_ledger(state, note_keys) == ""
    assert not keys[0] & keys[1]


def test_a_ledger_in_order_ends_the_check_with_0(tmp_path: Path, state: Path) -> None:
    Host(tmp_path, state).follow("Is the ledger right?")
