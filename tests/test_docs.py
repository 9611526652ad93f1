"""The documents can't rot: what they name exists, and what the code knows better is made from it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from orchd.advertise import metrics as advertise_metrics
from orchd.advertise import registries
from orchd.cli import build_parser
from orchd.domain.model import RunnerKind
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord
from orchd.domain.state import Severity
from orchd.errors import JOB_ANSWERS, Code
from orchd.jobs import metrics as jobs_metrics
from orchd.public import metrics as public_metrics
from orchd.reconcile import metrics as reconcile_metrics
from orchd.relay.listener import HandshakeFault
from orchd.runtime import metrics as runtime_metrics
from orchd.settings.names import RENAMED
from orchd.settings.tree import SETTINGS
from tests.reference_pages import DOCS, PAGES, with_made

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
METRICS = DOCS / "reference" / "metrics.md"
WRITTEN = [*sorted(ROOT.glob("*.md")), *sorted(page for page in DOCS.rglob("*.md") if page.parent.name != "protocol")]
"""All pages of ours; those of `docs/protocol/` are measurements of other programs."""
NOW = [page for page in WRITTEN if page.name != "CHANGELOG.md"]
"""Those that speak of this version alone."""

pages = pytest.mark.parametrize("page", NOW, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.mark.parametrize("page", PAGES)
def test_what_the_code_knows_better_is_made_from_it(page: str) -> None:
    text = (DOCS / page).read_text()
    assert text == with_made(page, text), "run: python -m tests.reference_pages"


def anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", text):
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), f"{page.name} links {target}"
        if anchor:
            assert anchor in anchors(there), f"{page.name} links {target}#{anchor}"


def test_every_page_is_on_the_map_of_the_readme() -> None:
    linked = {(ROOT / target).resolve() for target in re.findall(r"\]\(([^)#:]+)\)", README.read_text())}
    for page in NOW:
        if page != README:
            assert page in linked or page.parent in linked or page.parent.name == "bench", page


def test_the_readme_is_short() -> None:
    assert len(README.read_bytes()) <= 7 * 1024


def test_every_code_a_job_can_get_is_explained_with_its_status() -> None:
    rows = re.findall(r"^\| (`[^|]+) \| (\d{3}) \|", (DOCS / "reference" / "http-api.md").read_text(), re.MULTILINE)
    told = {code: int(status) for codes, status in rows for code in re.findall(r"`(\w+)`", codes)}
    assert told == {code.value: status for code, status in JOB_ANSWERS.items()}


def test_every_code_of_the_node_that_is_explained_exists() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", (DOCS / "how-to" / "beside-a-node.md").read_text(), re.MULTILINE)
    assert rows
    assert {*rows} <= {code.value for code in Code}


@pages
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z][\w-]*)", page.read_text(), re.MULTILINE)) <= targets


def command_lines(page: Path) -> Iterator[list[str]]:
    """Yield the words of each `orchd ...` that a page has people type: in a block of code, or in backticks."""
    command = r"(?:\$ )?(?:\.venv/bin/|/opt/orchd/bin/)?orchd ([a-z][^`\n]*)"
    text = page.read_text()
    blocks = "\n".join(re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)).replace("\\\n", " ")
    inline = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    for line in (*re.findall(f"^{command}", blocks, re.MULTILINE), *re.findall(f"`{command}`", inline)):
        yield shlex.split(re.split(r" # |\||;|&&", line)[0].replace("...", ""))


@pages
def test_every_command_line_is_understood(page: Path) -> None:
    parser = build_parser()
    for words in command_lines(page):
        assert words[0] in parser.commands, words
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert flags <= {*parser.commands[words[0]].flags()}, words


@pages
def test_every_setting_that_is_named_exists(page: Path) -> None:
    """In backticks, with its section; and as a flag or variable."""
    text = page.read_text()
    sections = {name.partition(".")[0] for name in SETTINGS if "." in name}
    for section, leaf in re.findall(r"`(\w+)\.(\w+)(?: = [^`]*)?`", text):
        if section in sections and leaf not in ("py", "md", "toml", "service", "socket"):
            assert f"{section}.{leaf}" in SETTINGS, f"{section}.{leaf}"
    variables = {setting.env for setting in SETTINGS.values()} | {"ORCHD_CONFIG"}
    for variable in re.findall(r"\bORCHD_[A-Z_]+[A-Z]\b", text):
        assert variable in variables or variable.startswith(("ORCHD_TEST_", "ORCHD_TEST_SOAK", "ORCHD_DEMO_")), variable
    assert not [former for former in RENAMED if former in text]


@pages
def test_every_metric_that_is_named_exists(page: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \|", METRICS.read_text(), re.MULTILINE)
    known = {f"{name}{end}" for name in rows for end in ("", "_bucket", "_sum", "_count")}
    named = set(re.findall(r"\b(?:orchd|byoc)_[a-z_]+[a-z]\b", page.read_text()))
    events = {"orchd_ready", "orchd_stopping", "orchd_failed"}
    assert named - events <= known
    assert set(re.findall(r"\b(?:orchd|byoc)_[a-z_]+[a-z]\b", (ROOT / "deploy" / "alerts.yml").read_text())) <= known


LABEL_WORDS: dict[tuple[str, str], Iterable[str]] = {
    ("outcome", "orchd_jobs_total"): Outcome,
    ("type", "byoc_errors_total"): (jobs_metrics.RUNNER_ERROR, *jobs_metrics.PROCESSING_ERRORS),
    ("result", "orchd_probes_total"): ProbeWord,
    ("reason", "orchd_runner_restarts_total"): reconcile_metrics.RESTART_REASONS,
    ("reason", "orchd_connections_closed_total"): jobs_metrics.CLOSED,
    ("side", "orchd_connections"): jobs_metrics.SIDES,
    ("class", "orchd_public_answers_total"): public_metrics.CLASSES,
    ("reason", "orchd_public_handshakes_failed_total"): HandshakeFault,
    ("by", "orchd_public_rate_limited_total"): public_metrics.LIMITS,
    ("severity", "orchd_file_problems"): Severity,
    ("registry", "orchd_registry_errors_total"): registries.names(),
    ("runtime", "orchd_runtime_up"): [kind for kind in RunnerKind if kind.launched],
    ("event", "orchd_runtime_events_total"): runtime_metrics.RUNTIME_EVENTS,
}
"""Words of labels that the page about metrics lists itself; of others it links to where they are explained."""


@pytest.mark.parametrize(("label", "metric"), LABEL_WORDS)
def test_every_word_of_a_label_is_on_the_page_about_metrics_and_no_other(label: str, metric: str) -> None:
    (words,) = re.findall(rf"^\| `{label}` \| `{metric}`[^|]*\| (.*) \|$", METRICS.read_text(), re.MULTILINE)
    listed = re.findall(r"`([\w-]+)`", re.sub(r" \([^)]*\)", "", words))
    assert sorted(listed) == sorted(str(word) for word in LABEL_WORDS[label, metric])


def test_every_code_of_a_registry_is_explained_where_the_page_about_metrics_says() -> None:
    listed = set(re.findall(r"`(\w+)`", (DOCS / "how-to" / "beside-a-node.md").read_text() + METRICS.read_text()))
    assert {str(code) for code in advertise_metrics.REGISTRY_CODES} <= listed


@pages
def test_every_file_of_ours_that_is_named_exists(page: Path) -> None:
    for path in re.findall(r"`((?:orchd|tests|docs|deploy|config|tools)/[\w./-]*\w)`", page.read_text()):
        assert "NAME" in path or (ROOT / path).exists(), path


def test_every_folder_of_the_package_is_on_the_page_of_the_architecture() -> None:
    page = (DOCS / "explanation" / "architecture.md").read_text()
    for folder in (ROOT / "orchd").iterdir():
        if folder.is_dir() and any(folder.glob("*.py")):
            assert f"`orchd/{folder.name}`" in page, folder
