"""What `docs/how-to/beside-a-node.md` has people write and type, with ports and paths of a test's own."""

from __future__ import annotations

import grp
import json
import os
import re
import secrets
import shlex
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.beside import GO_LIVEPEER_0_9, GO_LIVEPEER_0_10, LIVEPEER_NODE, NodeProcess
from tests.e2e.daemon import Daemon, kill_processes
from tests.e2e.scripts import Entry
from tests.ports import free_port

PAGES = Path(__file__).parents[2] / "docs" / "how-to"
NODE, GO_0_10, GO_0_9 = PROGRAMS = ("Livepeer Node", "go-livepeer 0.10", "go-livepeer 0.9")
"""The headings of the page, in its order."""
DOUBLES = dict(zip(PROGRAMS, (LIVEPEER_NODE, GO_LIVEPEER_0_10, GO_LIVEPEER_0_9), strict=True))


class Page:
    """A page of the how-tos.

    Attributes:
        text: it, as it stands.
    """

    def __init__(self, name: str) -> None:
        self.text = (PAGES / name).read_text()

    def block(self, language: str, beginning: str) -> str:
        """Return the one block of code that begins so."""
        blocks = re.findall(r"^```(\w*)\n(.*?)^```$", self.text, re.MULTILINE | re.DOTALL)
        [found] = [text for kind, text in blocks if kind == language and text.startswith(beginning)]
        return str(found)


class BesidePage(Page):
    """`beside-a-node.md`."""

    def __init__(self) -> None:
        super().__init__("beside-a-node.md")
        sections = re.findall(r"^## (.*)$", self.text, re.MULTILINE)
        assert [each for each in sections if each in PROGRAMS] == list(PROGRAMS)

    @property
    def command(self) -> list[str]:
        """Words of the command that shows what is wrong."""
        [command] = re.findall(r"^\| `orchd ([^`]+)` says \|", self.text, re.MULTILINE)
        return str(command).split()

    def codes(self) -> set[tuple[str, str]]:
        """Return the pairs of code and program of its table."""
        _, _, table = self.text.partition("## When something is wrong")
        rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \|", table, re.MULTILINE)
        assert rows
        return {(code, each) for code, beside in rows for each in (PROGRAMS if beside == "all" else (beside,))}

    def settings(self, program: str) -> str:
        """Return orchd's settings beside that program."""
        more = "" if program == NODE else self.block("toml", "cli_url")
        return self.block("toml", "[orchestrator]\nservice_url") + more


@dataclass
class Place:
    """Where it is tried.

    Attributes:
        instead: what stands on the page, and what takes its place here.
        nobody: a port at which nobody listens.
    """

    folder: Path
    page: BesidePage
    instead: Mapping[str, str] = field(init=False)
    nobody: int = field(init=False, default_factory=free_port)

    def __post_init__(self) -> None:
        ports = {port: str(free_port()) for port in ("8935", "7935", "8737")}
        paths = {
            "/etc/orchd/orch-secret": str(self.folder / "orch-secret"),
            "/etc/livepeer/orchestrator.toml": str(self.folder / "orchestrator.toml"),
            "/var/lib/livepeer": str(self.folder / "livepeer"),
        }
        self.instead = ports | paths | {"-g orchd": f"-g {grp.getgrgid(os.getgid()).gr_name}"}

    def put(self, text: str) -> str:
        for there in self.instead:
            assert there in self.page.text, f"the page no longer says {there}"
        return re.sub("|".join(map(re.escape, self.instead)), lambda found: self.instead[found.group()], text)

    @property
    def secret_file(self) -> Path:
        return Path(self.put("/etc/orchd/orch-secret"))

    def make_secret(self) -> None:
        self.type_in(self.page.block("", "install "))

    def type_in(self, commands: str) -> None:
        """Do what a page has people type."""
        subprocess.run(["bash", "-ec", self.put(commands)], check=True)

    def node_flags(self, program: str) -> list[str]:
        """Return what follows the program's name on its command line, once its file is written."""
        if program == NODE:
            Path(self.put("/etc/livepeer/orchestrator.toml")).write_text(self.put(self.page.block("toml", "Network")))
        name = "livepeer-orchestrator" if program == NODE else "livepeer"
        line = self.page.block("", f"{name} ").replace("\\\n", "")
        if program == GO_0_9:
            [more] = re.findall(r"add\s+`(-[^`]+)`", self.page.text.partition(f"## {GO_0_9}\n")[2])
            line = f"{line.strip()} {more}"
        return shlex.split(self.put(line).removeprefix(name))

    @property
    def settings(self) -> Path:
        return self.folder / "orchd.toml"

    def write_settings(self, program: str, changes: Mapping[str, str]) -> None:
        """Write orchd's settings, with `changes` of [orchestrator]. Its port is the one that the page supposes."""
        text = self.put('[jobs]\nlisten = ["127.0.0.1:8737"]\n\n' + self.page.settings(program))
        for name, value in changes.items():
            text = re.sub(rf"^{name} = .*\n", "", text, flags=re.MULTILINE) + f"{name} = {json.dumps(value)}\n"
        self.settings.write_text(text)


class NodeOfThePage(NodeProcess):
    """The node, with the file and the flags of the page.

    Args:
        more: flags in addition; they win.
        without: a flag of the page that is left out.
    """

    def __init__(self, place: Place, program: str, *more: str, without: str = "") -> None:
        super().__init__(place.folder / "node", program=DOUBLES[program])
        self.port = int(place.instead["8935"])
        self.become(place, program, *more, without=without)

    def become(self, place: Place, program: str, *more: str, without: str = "") -> None:
        """Be another program from the next start on."""
        self.program = DOUBLES[program]
        flags = [flag for flag in place.node_flags(program) if flag != without]
        self.said = ["--version", self.program.version, *flags, *more]

    async def end(self) -> None:
        """As systemd ends it."""
        assert self._process is not None
        self._process.terminate()
        await self._process.wait()

    @property
    def has_byoc(self) -> bool:
        return self.program is GO_LIVEPEER_0_9

    def command_line(self) -> list[str]:
        return self.said


@asynccontextmanager
async def orchd(place: Place, program: str, *entries: Entry, **changes: str) -> AsyncIterator[Daemon]:
    """Run `orchd` with the settings of the page."""
    instance = f"t-page-{secrets.token_hex(4)}"
    place.write_settings(program, changes)
    daemon = Daemon(place.folder / "orchd", instance, env={"ORCHD_CONFIG": str(place.settings)})
    daemon.jobs_port = int(place.instead["8737"])
    daemon._settings["jobs.listen"] = f"127.0.0.1:{daemon.jobs_port}"
    daemon.write(*entries)
    try:
        async with daemon:
            yield daemon
    finally:
        kill_processes(instance)
