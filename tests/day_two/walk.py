"""`docs/how-to/day-two.md` is walked: each command is typed, and what it prints is held against the page.

A block of the page that begins with ```` ```console ```` holds commands (after `$ `) and what they print. What happens
to the machine between them stands in comments of the page, `<!-- meanwhile: ... -->`: lines of a shell with the words

    job MODEL WORD          send a job, whose answer is not waited for (what each word does: `model.py`)
    until_ TEXT COMMAND     repeat the command until what it prints has the text

`python -m tests.day_two` writes what is printed now into the page.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "how-to" / "day-two.md"
MODELS = Path(__file__).with_name("aiModels.json")
MODEL = Path(__file__).with_name("model.py")
PATIENCE_S = 90.0
"""Upper bound of each command: for machines that are slow, never for how long something should take."""
SETTLE_S = 30.0
"""For how long a command that only shows something is typed again until it shows what the page says."""
FOLLOW_S = 2
"""For how long what is printed is followed at first."""

_STEP = re.compile(
    r"^<!-- meanwhile:\s(?P<script>.*?)\s-->$|^```console\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL
)
_CHANGES_SOMETHING = re.compile(r"orchd (re)?start|orchd stop|systemctl ")
_ON_A_TERMINAL = "exec script -qec 'stty cols 80 rows 70; bash -c \"$DAY_TWO\"' /dev/null </dev/null"
_WORDS = r"""
job() { curl -s -m 20 -d "$2" -H "X-Model-Id: ${1#*/}" "$JOBS/${1%%/*}" </dev/null >/dev/null 2>&1 & disown; }
until_() { local text=$1; shift; while ! "$@" 2>&1 | grep -qE -e "$text"; do sleep 0.2; done; }
"""
_VARY = {
    r"(?m)^( +\S.{29}).*(\n +\S.*)*\.\.\.$": r"\1 CUT",
    r"\b\d{4}-\d\d-\d\d \d\d:\d\d:\d\d( UTC)?|\b[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d": "TIME",
    r"\bsha256 +\w{64}\b|\b[0-9a-f]{12}\b": "ID",
    r"\b[0-9a-f]{8}-0-ID": "ID",
    r"\b\d+(\.\d+){1,3}(\+\w+)?\b(?! s)": "NUMBER",
    r"(NUMBER|127\.0\.0\.1):\d+": "ADDRESS",
    r"\(/\S*/python[\d.]*\)": "(PYTHON)",
    r"\b(process|port) +\d+": r"\1 NUMBER",
    r"\b\d+(\.\d+)? ?(ms|s|m|h|d)\b": "TIME",
}


@dataclass(frozen=True)
class Machine:
    """Where the page is walked.

    Attributes:
        shell: what runs a script that comes on its standard input, as `bash -s`.
        env: variables that each script gets.
        varies: what is called otherwise here: the name that the page has, by the one here.
    """

    shell: Sequence[str]
    env: Mapping[str, str]
    varies: Mapping[str, str] = field(default_factory=dict)

    def run(self, script: str) -> str:
        """Run it on a terminal of 80 columns; return what it printed."""
        env = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in self.env.items())
        try:
            done = subprocess.run(
                self.shell,
                input=f"{env}export DAY_TWO={shlex.quote(_WORDS + script)}\n{_ON_A_TERMINAL}\n",
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
        except subprocess.TimeoutExpired as exc:
            raise AssertionError(f"cannot bring to an end: {script}; printed: {exc.stdout!r}") from exc
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r|\x08|\^D", "", done.stdout)

    def meanwhile(self, script: str) -> None:
        """Let happen what happens between two blocks."""
        if said := self.run(f"set -e\n{script}").strip():
            raise AssertionError(f"cannot do {script!r}: {said}")

    def as_on_the_page(self, text: str) -> str:
        """Return it with the names that the page has."""
        for name, word in self.varies.items():
            text = text.replace(name, word)
        return text

    def same(self, text: str) -> str:
        """Return it without what differs from one run to the next: times, ids, ports, how lines are wrapped."""
        text = self.as_on_the_page(text)
        for pattern, word in _VARY.items():
            text = re.sub(pattern, word, text)
        return " ".join(text.split())


@dataclass(frozen=True)
class Shown:
    """A command of the page, and what the page says that it prints."""

    command: str
    output: str

    def typed(self, follow_s: int) -> str:
        """Return the command; one that follows what comes is interrupted after so many seconds."""
        follows = re.search(r" (-f|--watch)\b", self.command)
        return f"timeout -s INT {follow_s} {self.command}" if follows else self.command


def shown(block: str) -> list[Shown]:
    """Return the commands of a block."""
    parts = re.split(r"^\$ (.*)\n", block, flags=re.MULTILINE)[1:]
    return [Shown(command, output) for command, output in zip(parts[::2], parts[1::2], strict=True)]


def check(machine: Machine, page: str) -> Iterator[str]:
    """Walk the page; yield each command that did as the page says.

    Raises:
        AssertionError: what a command prints is not what the page says.
    """
    for step in _STEP.finditer(page):
        if step["script"]:
            machine.meanwhile(step["script"])
            continue
        for one in shown(step["block"]):
            _check(machine, one)
            yield one.command


def _check(machine: Machine, one: Shown) -> None:
    """Type it until it prints what the page says; once if it changes something."""
    deadline = time.monotonic() + (0.0 if _CHANGES_SOMETHING.match(one.command) else SETTLE_S)
    wanted = machine.same(one.output)
    follow_s = FOLLOW_S
    while machine.same(printed := machine.run(one.typed(follow_s))) != wanted:
        follow_s *= 2  # A machine may be too slow to print it in the time before.
        late = time.monotonic() > deadline
        assert not late, f"{one.command} printed:\n{printed}\nThe page says:\n{one.output}"


def written(machine: Machine, page: str) -> str:
    """Walk the page, and return it with what is printed now."""
    pieces, end = [], 0
    for step in _STEP.finditer(page):
        if step["script"]:
            machine.meanwhile(step["script"])
            continue
        texts = [f"$ {one.command}\n{machine.run(one.typed(FOLLOW_S))}".rstrip() + "\n" for one in shown(step["block"])]
        pieces += [page[end : step.start("block")], "".join(texts)]
        end = step.end("block")
    return "".join([*pieces, page[end:]])
