"""`orchd status`: readable at 80 columns, the reasons in full, and no secret in it."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from typing import Any

import pytest

from orchd.advertise.status import _is_amiss, standing
from orchd.cli.status_pages import model_page, on_screen, overview, states
from orchd.domain.ids import ModelKey
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.domain.offer import NodeProgram, NodeStatus
from orchd.domain.state import BY_OPERATOR, RuntimeStatus, Snapshot, Stopped
from orchd.errors import Code
from orchd.hooks.settings import BUILT_IN
from orchd.node.status import node_line, node_lines
from orchd.reconcile.status_list import can_serve, totals, wanted
from orchd.status_view import status
from orchd.text import TextStyle, cells
from tests.fakes.snapshots import NODE, NODE_DOWN, NOW, SECRET, beside, published, snapshot

TERMINAL = TextStyle(80)
LLM = ModelKey("llm", "meta-llama/Meta-Llama-3.1-8B-Instruct")

HEAD = """\
orchd 0.9.0 (default), up 1d; jobs at 0.0.0.0:8935, admin at 127.0.0.1:8738
Jobs since then: 412 ok, 14 refused, 7 runner_error; codes: 10
    capacity_exhausted, 4 not_ready"""
FILE = "Models file: applied 2m ago (1f0c9a3b7d21), 1 error, 1 warning"
OVERVIEW = """\
5 models: 2 ready, 1 cold, 2 can't serve; sessions 4/15, replicas 2/6

The container runtime is down
    cannot reach Docker Engine at /var/run/docker.sock: no such file

MODEL                                      STATE      SESSIONS  REPLICAS  SINCE
llm/meta-llama/Meta-Llama-3.1-8B-Instruct  failed     0/1       0/1       4m
    replica 0 failed: exited with code 137, out of memory; started 6 times
    within 10 minutes, each time it failed
image-to-text/図書館/キャプション          unhealthy  0/1       0/1       31s
    replica 0 unhealthy: connection refused, Authorization: Bearer ***
text-to-image/stabilityai/sdxl-turbo       ready      3/8       1/2       1d
    replica 1 backoff: exited with code 1: CUDA error
live/video-to-video/green-tint-cpu         ready      1/4       1/1       3m
audio-to-text/openai/whisper-large-v3      cold       0/1 (+2)  0/1       -

Problems of the models file
  error    /etc/orchd/aiModels.json:41:7: entry 3
           (llm/meta-llama/Meta-Llama-3.1-8B-Instruct) field health.interval_s:
           cannot read health.interval_s = 'often': a number of seconds is
           expected
  warning  /etc/orchd/aiModels.json:12: entry 1: unknown key maxSesions; did you
           mean maxSessions?"""
WHOLE = f"{HEAD}\n{FILE}\n{OVERVIEW}"


def test_hooks_are_named_where_there_are_others_than_those_of_orchd() -> None:
    def shown(*hooks: str) -> str:
        return overview(status(replace(snapshot(), hooks=hooks)), TERMINAL)

    assert "\nHooks: node-token, credit\nModels file: " in shown("node-token", "credit")
    assert "Hooks" not in shown()
    assert "Hooks" not in shown(*BUILT_IN)


def test_the_overview_at_80_columns_begins_with_those_that_need_somebody() -> None:
    assert overview(status(snapshot()), TERMINAL) == WHOLE


def test_colour_changes_nothing_but_colour() -> None:
    painted = overview(status(snapshot()), TextStyle(80, colour=True))
    assert painted != WHOLE
    assert re.sub(r"\x1b\[\d+m", "", painted) == WHOLE


def test_without_a_terminal_each_model_is_one_line_with_its_full_name_and_reason() -> None:
    long = {}
    for key, one in snapshot().models.items():
        renamed = ModelKey(key.pipeline, key.model_id + "-x" * 60)
        long[renamed] = replace(one, model=replace(one.model, key=renamed))
    lines = overview(status(replace(snapshot(), models=long)), TextStyle()).splitlines()
    rows = model_rows("\n".join(lines))
    assert [line.split()[:2] for line in rows] == [
        [next(str(key) for key in long if key.pipeline == pipeline), state]
        for pipeline, state in (
            ("llm", "failed"),
            ("image-to-text", "unhealthy"),
            ("text-to-image", "ready"),
            ("live/video-to-video", "ready"),
            ("audio-to-text", "cold"),
        )
    ]
    assert "each time it failed" in rows[0]


def test_no_models_is_said_with_the_way_out() -> None:
    page = overview(status(Snapshot()), TERMINAL)
    assert page.splitlines() == [
        *("Jobs since then: none", "Models file: none has applied yet"),
        *("", "No models. Add an entry to the models file."),
    ]


def many(count: int, *, failing: int = 2) -> Snapshot:
    """Return a snapshot with so many models, of which some can't serve."""
    _, _, bad, cold, _ = snapshot().models.values()
    good = next(iter(snapshot().models.values()))
    models = {}
    for n in range(count):
        kind = bad if n % 10 == 9 and n // 10 < failing else cold if n % 5 == 3 else good
        key = ModelKey(kind.model.key.pipeline, f"{kind.model.key.model_id}-with-a-name-that-is-much-too-long-{n}")
        models[key] = replace(kind, model=replace(kind.model, key=key), waiting=0)
    return replace(snapshot(), models=models, problems=(), runtimes=())


def model_rows(page: str) -> list[str]:
    lines = page.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith("MODEL "))
    rows = lines[start + 1 :]
    return [line for line in rows[: rows.index("") if "" in rows else None] if not line.startswith("    ")]


@pytest.mark.parametrize("count", [0, 1, 30, 1000])
@pytest.mark.parametrize("size", [(80, 23), (120, 39)])
def test_any_number_of_models_fits_the_terminal(count: int, size: tuple[int, int]) -> None:
    width, height = size
    page = overview(status(many(count)), TextStyle(width, height=height))
    assert max(map(cells, page.splitlines())) <= width
    assert len(page.splitlines()) <= height


def test_thirty_models_fit_80_columns_and_a_high_window_each_in_a_line() -> None:
    rows = model_rows(overview(status(many(30)), TextStyle(80, height=60)))
    assert len(rows) == 30
    states = [re.split(r"\s{2,}", row)[1] for row in rows]
    assert states == ["failed"] * 2 + ["ready"] * 22 + ["cold"] * 6
    names = [row.split("  ")[0] for row in rows]
    assert all("..." in name and name.split("-")[-1].isdigit() for name in names), "cut in the middle"
    assert len(set(names)) == 30


def test_what_a_window_has_no_room_for_is_counted_and_the_worst_stay() -> None:
    rows = model_rows(overview(status(many(1000)), TextStyle(80, height=23)))
    assert [re.split(r"\s{2,}", row)[1] for row in rows[:2]] == ["failed"] * 2
    shown = len(rows) - 1
    assert rows[-1] == f"{1000 - shown} more ({798 - shown + 2} ready, 200 cold); see `orchd status | less`"


def test_the_list_of_models_keeps_half_of_a_window_that_is_full_of_problems() -> None:
    problem = snapshot().problems[0]
    full = replace(many(30), problems=(problem,) * 40)
    page = overview(status(full), TextStyle(80, height=24))
    assert len(model_rows(page)) >= 8
    assert "  37 more; see `orchd check`, or `orchd status | less`" in page.splitlines()


@pytest.mark.parametrize("height", [5, 10, 24])
def test_a_screen_shows_as_many_lines_as_it_has_and_says_how_many_are_missing(height: int) -> None:
    page = "\n".join(map(str, range(24)))
    shown = on_screen(page, TextStyle(80, height=height), "orchd status")
    assert len(shown) == height
    if height == 24:
        assert shown == page.split("\n")
    else:
        assert shown[: height - 1] == page.split("\n")[: height - 1]
        assert shown[-1] == f"{24 - height + 1} more lines; see `orchd status | less`"


@pytest.mark.parametrize(
    ("change", "serves", "is_wanted"),
    [
        ({}, True, True),
        ({"ready": False, "startable": True, "state": "cold"}, True, True),
        ({"ready": False, "state": "loading"}, False, True),
        ({"ready": False, "state": "failed"}, False, True),
        ({"ready": False, "state": "draining", "leaving": True}, False, False),
        ({"ready": False, "state": "stopped", "stopped": {"by": "alice", "at": NOW}}, False, False),
        ({"ready": False, "state": "draining", "stopped": {"by": "alice", "at": NOW}}, False, False),
    ],
)
def test_which_models_can_serve_and_which_are_to(change: dict[str, Any], serves: bool, is_wanted: bool) -> None:
    model = {**status(snapshot())["models"][0], **change}
    assert (can_serve(model), wanted(model)) == (serves, is_wanted)
    [line] = totals({**status(snapshot()), "models": [model]}, TERMINAL)
    assert ("can't serve" in line) is (is_wanted and not serves)
    assert ("on the way" in line) is (model["state"] == "loading")


def test_a_runtime_that_no_model_needs_is_not_complained_of() -> None:
    away = replace(snapshot(), runtimes=(RuntimeStatus("container", up=False, detail="no Docker here", needed=False),))
    assert "The container runtime is down" in overview(status(snapshot()), TERMINAL)
    assert "runtime" not in overview(status(away), TERMINAL)


def test_a_bad_file_says_what_runs_instead() -> None:
    page = overview(status(replace(snapshot(), reload_ok=False)), TERMINAL)
    assert "Models file: the newest does not apply; running from 1f0c9a3b7d21, 1 error, 1 warning" in " ".join(
        page.split()
    )


def test_where_a_problem_is_cut_the_command_that_shows_it_whole_is_named() -> None:
    long = replace(snapshot().problems[0], message="x y " * 100)
    cut = replace(snapshot(), problems=(long,))
    assert overview(status(cut), TextStyle(80, height=40)).endswith("...\n  `orchd check` shows all of it")
    assert "orchd check" not in overview(status(cut), TERMINAL), "all of it is there"
    short = replace(snapshot(), problems=(replace(long, message="x y"),))
    assert "orchd check" not in overview(status(short), TextStyle(80, height=40))


def test_held_over_and_leaving_models_say_so() -> None:
    leaving = {"leaving": True, "reason": ""}
    models = {
        key: replace(one, **({"held_over": True} if key == LLM else leaving)) for key, one in snapshot().models.items()
    }
    lines = states(status(replace(snapshot(), models=models)))
    assert "going by its last good definition, since its entry has an error" in lines[str(LLM)]
    of_bad_file = states(status(replace(snapshot(), models=models, reload_ok=False)))
    assert "going by its last good definition, since the whole models file can't be used" in of_bad_file[str(LLM)]
    assert lines["audio-to-text/openai/whisper-large-v3"].endswith("no longer in the file")


def test_a_stopped_model_says_who_has_stopped_it_and_when_and_so_does_one_that_left_the_file() -> None:
    by = Stopped("alice", NOW - 65)
    models = {
        key: replace(one, ready=False, startable=False, stopped=by, runners=(), reason=BY_OPERATOR)
        for key, one in snapshot().models.items()
    }
    page = status(replace(snapshot(), models=models, stopped_elsewhere={ModelKey("llm", "left"): by}))
    when = f"alice ({datetime.fromtimestamp(by.at).astimezone():%b %d %H:%M:%S}) has stopped it"
    first, second = totals(page, TextStyle())
    assert first.startswith("5 models: 5 stopped; sessions ")
    assert second == f"llm/left is not in the models file; {when}"
    assert states(page)[str(LLM)].endswith(f": {when}")
    row = next(line for line in overview(page, TextStyle()).splitlines() if line.startswith(f"{LLM} "))
    assert row.split()[1] == "stopped"
    assert " 1m" in row
    assert totals({**page, "models": []}, TextStyle()) == [second]


class TestModelPage:
    def page(self, style: TextStyle = TERMINAL, key: ModelKey = LLM) -> str:
        return model_page(status(snapshot(), key), style)

    def test_facts_runners_log_and_events_are_there(self) -> None:
        page = self.page()
        assert page.startswith(f"{LLM}\n  state     failed\n  why       replica 0 failed: exited with code 137")
        assert "  runs      ghcr.io/acme/runner:1.2 (container, profile batch)\n" in page
        assert "  price     3/2 wei per second\n" in page
        assert "\nWhat replica 0 said before it last failed\n    loading shards 3/4\n    token=***\n" in page

    def test_a_container_and_a_process_are_named_as_other_tools_name_them(self) -> None:
        page = self.page(key=ModelKey("text-to-image", "stabilityai/sdxl-turbo"))
        assert (
            """
Replica 0 is
  container default-sdxl-0
  id        3f2a3f2a3f2a
  image     ghcr.io/acme/runner:1.2
  digest    5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d5d
  port      8000 inside, 32768 on this machine
  address   http://127.0.0.1:32768
"""
            in page
        )
        process = self.page(key=ModelKey("live/video-to-video", "green-tint-cpu"))
        assert process.endswith("\nReplica 0 is\n  process   4711\n  program   python3\n  port      40001")

    @pytest.mark.parametrize(
        ("states", "kind", "more", "commands"),
        [
            (["ready"], "container", {}, []),
            (["ready"], "container", {"last_failure": "exited"}, ["logs NAME --previous", "events NAME"]),
            (["backoff"], "container", {"last_failure": "exited"}, ["logs NAME", "events NAME"]),
            (["failed"], "process", {"last_failure": "exited"}, ["logs NAME", "events NAME", "restart NAME"]),
            (["loading"], "container", {}, ["logs NAME -f"]),
            (["unhealthy"], "container", {}, ["logs NAME -f", "restart NAME"]),
            (["unhealthy"], "external", {}, []),
            ([], "container", {"state": "stopped"}, ["start NAME"]),
            (["ready"], "container", {"held_over": True}, ["check"]),
        ],
    )
    def test_the_commands_that_help_are_named_where_they_do(
        self, states: list[str], kind: str, more: dict[str, Any], commands: list[str]
    ) -> None:
        shown = status(snapshot(), next(iter(snapshot().models)))
        [model] = shown["models"]
        [runner] = model["runners"]
        model |= {"kind": kind, "state": (states or [""])[0], **more}
        model["runners"] = [{**runner, "state": state} for state in states]
        page = model_page(shown, TextStyle())
        found = re.findall(r"^  orchd ((?:\S+ )*\S+)  ", page, re.MULTILINE)
        name = f"{model['pipeline']}/{model['model_id']}"
        assert found == [command.replace("NAME", name) for command in commands]
        assert ("What helps next" in page) is bool(commands)

    def test_events_come_latest_first_each_with_its_reason_and_evidence(self) -> None:
        events = self.page().partition("Events, latest first\n")[2]
        moves = re.findall(r"#0  (\w+ -> \w+)", events)
        assert moves[0] == "stopping -> failed"
        assert moves[-1] == "cold -> pulling"
        assert "      the container ended by itself\n      exit code 137, OOM killed; Bearer ***\n" in events

    def test_on_a_terminal_the_latest_events_leave_room_and_the_others_are_pointed_to(self) -> None:
        assert "more of them" not in self.page()
        page = self.page(TextStyle(80, height=24))
        assert re.findall(r"#0  (\w+ -> \w+)", page) == ["stopping -> failed", "loading -> stopping"]
        assert page.endswith(f"\n  more of them: `orchd events {LLM}`")

    def test_a_model_that_is_ready_again_says_when_and_why_it_last_failed(self) -> None:
        assert "\n  failed    " not in self.page(), "what it fails of now is its reason"
        shown = status(snapshot(), LLM)
        [model] = shown["models"]
        failure = {
            "before": "stopping",
            "after": "backoff",
            "why": "it exited with code 1",
            "evidence": "",
            "at": NOW - 65,
        }
        later = [{**failure, "before": "loading", "after": "ready", "at": NOW - 5}] * 6
        model |= {
            "state": "ready",
            "ready": True,
            "history": [{**model["history"][-1], **one} for one in (failure, *later)],
        }
        assert "\n  failed    last 1m ago: it exited with code 1\n" in model_page(shown, TextStyle(80, height=24))
        model["history"] = model["history"][1:]
        assert "\n  failed    " not in model_page(shown, TextStyle(80, height=24))

    def test_one_that_crashes_again_and_again_says_so_while_it_is_started_again(self) -> None:
        shown = status(snapshot(), next(iter(snapshot().models)))
        [model] = shown["models"]
        again = {"ready": False, "state": "loading", "reason": "it is loading", "last_failure": "it exited with code 3"}
        model |= again
        assert "it is loading; its last run failed: it exited with code 3" in model_page(shown, TextStyle())
        assert "1 can't serve;" in totals(shown, TERMINAL)[0], "and is not on the way"
        model["reason"] = "it is loading: it exited with code 3"
        assert "its last run failed" not in model_page(shown, TextStyle())

    def test_the_next_start_of_a_runner_in_backoff_is_told(self) -> None:
        page = self.page(key=ModelKey("text-to-image", "stabilityai/sdxl-turbo"))
        assert "    next start in 8s; exited with code 1: CUDA error" in page

    def test_jobs_that_its_runners_failed_by_their_own_word_are_told(self) -> None:
        page = self.page(key=ModelKey("text-to-image", "stabilityai/sdxl-turbo"))
        assert (
            " ".join(page.split()).count(
                "errors 7 jobs were answered with HTTP 500 to 599 by a runner, the last one 12s ago with 503"
            )
            == 1
        )
        assert "HTTP 500" not in self.page()

    def test_slots_that_are_letting_go_are_told(self) -> None:
        shown = status(snapshot(), ModelKey("text-to-image", "stabilityai/sdxl-turbo"))
        assert "letting go" not in model_page(shown, TERMINAL) + overview(shown, TERMINAL)
        (model,) = shown["models"]
        model["sessions"]["letting_go"] = model["runners"][0]["letting_go"] = 2
        page = model_page(shown, TERMINAL)
        assert "3 of 8, 0 waiting, 2 letting go" in page
        assert page.count("2 letting go") == 2, "of the model, and of its replica"
        assert " 3/8, 2 letting go " in overview(shown, TERMINAL)

    def test_a_ready_model_that_does_not_answer_says_so_and_what_helps(self) -> None:
        shown = status(snapshot(), ModelKey("live/video-to-video", "green-tint-cpu"))
        assert "orchd restart" not in model_page(shown, TERMINAL)
        (model,) = shown["models"]
        said = "its probes get no answer since 22:40:07 UTC"
        model["runners"][0]["doubt"] = model["runners"][0]["detail"] = said
        helps = "  orchd restart live/video-to-video/green-tint-cpu\n      if it does not recover by itself"
        assert helps in model_page(shown, TERMINAL)
        assert said in overview(shown, TERMINAL)

    def test_slots_that_are_pending_are_told(self) -> None:
        shown = status(snapshot(), ModelKey("text-to-image", "stabilityai/sdxl-turbo"))
        assert "pending" not in model_page(shown, TERMINAL) + overview(shown, TERMINAL)
        (model,) = shown["models"]
        model["sessions"]["pending"] = 2
        assert "3 of 8, 0 waiting, 2 pending" in model_page(shown, TERMINAL)
        assert " 3/8, 2 pending " in overview(shown, TERMINAL)

    def test_nothing_is_wider_than_the_terminal(self) -> None:
        pages = [self.page(key=key) for key in snapshot().models]
        assert max(cells(line) for page in pages for line in page.splitlines()) <= 80


LIVEPEER_NODE = replace(NODE, program=NodeProgram.LIVEPEER_NODE, version="", on_chain=None, registries=("live-runner",))

NODE_LINES = """\
go-livepeer 0.9.1: up for 3h, 2 starts seen, on chain, byoc + live-runner
    offers 2 of 3 by byoc, 1 of 3 by live-runner"""
AMISS = """\
Not offered as they should be
MODEL                                      BYOC          LIVE-RUNNER  WHY
text-to-image/stabilityai/sdxl-turbo       confirmed 3m  missing 15m
    live-runner: cannot confirm what go-livepeer offers: it is not listed
llm/meta-llama/Meta-Llama-3.1-8B-Instruct  leaving 4m    lingers 4m
    it is failed; live-runner: cannot confirm what go-livepeer offers: it is
    still listed
image-to-text/図書館/キャプション          failing 4s    failing 0s
    byoc: cannot register the model at go-livepeer: it says 'price too high';
    live-runner: cannot publish the price: 0 can't be published on chain"""


class TestBesideANode:
    def section(self, snapshot: Snapshot, style: TextStyle = TERMINAL) -> str:
        """Return what the overview's head says of the node."""
        page = overview(status(snapshot), style)
        return page[page.index("\x1b[31mgo-livepeer" if "\x1b[31mgo" in page else "go-livepeer") : page.index("Models")]

    def amiss(self, snapshot: Snapshot, style: TextStyle = TERMINAL) -> str:
        """Return what stands below the models."""
        before, _, found = overview(status(snapshot), style).partition("\n\nNot offered")
        assert before
        return f"Not offered{found}" if found else ""

    def test_the_overview_tells_what_is_offered_and_what_is_not_as_it_should_be_and_why(self) -> None:
        page = overview(status(beside(NODE)), TERMINAL)
        assert page == f"{HEAD}\n{NODE_LINES}\n{FILE}\n{OVERVIEW}\n\n{AMISS}"

    def test_a_node_that_is_down_says_why_and_nothing_looks_alive(self) -> None:
        style = TextStyle(80, colour=True)
        lines = self.section(beside(NODE_DOWN), style).splitlines()
        assert lines[0].startswith("\x1b[31mgo-livepeer 0.9.1: down for 4m, 2 starts seen")
        assert "".join(lines[1:3]).split() == NODE_DOWN.error.split()
        assert lines[3] == "    offered when it was up: 2 of 3 by byoc, 1 of 3 by live-runner"
        assert "\x1b[32m" not in self.amiss(beside(NODE_DOWN), style)

    def test_of_a_node_that_was_not_seen_yet_it_is_not_said_what_it_offered(self) -> None:
        unseen = NodeStatus(error="cannot reach the node")
        assert "offered when it was up" not in overview(status(beside(unseen)), TERMINAL)

    def test_an_error_that_the_nodes_line_tells_is_not_told_for_each_model_too(self) -> None:
        key, one = next(iter(snapshot().models.items()))
        away = published(9, error="cannot reach go-livepeer", code=Code.NODE_UNREACHABLE)
        shown = replace(beside(NODE_DOWN), models={key: replace(one, registries=dict.fromkeys(NODE.registries, away))})
        assert self.amiss(shown).endswith("confirmed 9s  confirmed 9s")
        back = self.amiss(replace(shown, node=NODE))
        assert back.endswith("    byoc and live-runner: cannot reach go-livepeer")

    def test_models_that_gateways_find_as_they_should_are_not_listed_again(self) -> None:
        fine = dict(list(beside(NODE).models.items())[:1])
        assert self.amiss(replace(beside(NODE), models=fine)) == ""
        [(key, one)] = fine.items()
        unpriced = replace(one, registries={}, not_offered="it has no price")
        assert self.amiss(replace(beside(NODE), models={key: unpriced})).endswith("no    no           it has no price")

    def test_a_node_that_was_never_seen(self) -> None:
        never = replace(NodeStatus(), error=NODE_DOWN.error, code=NODE_DOWN.code)
        assert node_lines(status(Snapshot(node=never))["node"], NOW, TERMINAL) == [
            "node: not seen yet",
            "    cannot reach go-livepeer at https://127.0.0.1:8935: connection refused; is",
            "    it running?",
        ]

    def test_what_does_no_harm_is_told_below_the_node(self) -> None:
        noted = replace(LIVEPEER_NODE, notes=("orchestrator.cli_url is not used: Livepeer Node has no CLI port",))
        assert node_lines(status(Snapshot(node=noted))["node"], NOW, TERMINAL) == [
            "Livepeer Node: up for 3h, 2 starts seen, live-runner",
            "    orchestrator.cli_url is not used: Livepeer Node has no CLI port",
        ]

    def test_without_models_the_node_alone_is_told(self) -> None:
        page = overview(status(Snapshot(node=NODE, at=NOW)), TERMINAL)
        assert page.splitlines()[1] == node_line(status(Snapshot(node=NODE))["node"], NOW)
        assert "offers" not in page

    @pytest.mark.parametrize(
        ("node", "said"),
        [
            (NODE, "go-livepeer 0.9.1: up, 2 starts seen, on chain, byoc + live-runner"),
            (
                replace(NODE, epoch=1, on_chain=False, version="", registries=()),
                "go-livepeer: up, 1 start seen, off chain, no registry is used",
            ),
            (replace(NODE, on_chain=None), "go-livepeer 0.9.1: up, 2 starts seen, byoc + live-runner"),
            (LIVEPEER_NODE, "Livepeer Node: up, 2 starts seen, live-runner"),
            (replace(LIVEPEER_NODE, up=False), "Livepeer Node: down, 2 starts seen, live-runner"),
        ],
        ids=["all is known", "no version, no registry", "not known whether on chain", "Livepeer Node", "it is away"],
    )
    def test_the_node_in_one_line(self, node: NodeStatus, said: str) -> None:
        assert node_line(status(Snapshot(node=node))["node"], None) == said

    @pytest.mark.parametrize(
        ("wanted", "taken", "confirmed", "error", "word"),
        [
            (True, True, True, "", "confirmed"),
            (True, True, True, "cannot", "confirmed"),
            (True, True, None, "", "offered"),
            (True, True, False, "", "missing"),
            (True, False, None, "", "pending"),
            (True, False, True, "cannot", "failing"),
            (False, True, True, "", "leaving"),
            (False, False, True, "", "lingers"),
            (False, False, False, "", "no"),
            (False, False, None, "cannot", "no"),
        ],
    )
    def test_one_word_for_wanted_published_and_confirmed(
        self, wanted: bool, taken: bool, confirmed: bool | None, error: str, word: str
    ) -> None:
        assert standing({"wanted": wanted, "published": taken, "confirmed": confirmed, "error": error}) == word

    def test_a_model_that_is_left_out_for_want_of_a_free_slot_is_full_and_not_amiss(self) -> None:
        full = {"wanted": False, "published": False, "confirmed": False, "error": "", "full": True}
        assert standing(full) == "full"
        model = {"registries": {"live-runner": full}, "ready": True, "not_offered": ""}
        assert not _is_amiss(model)

    def test_a_registry_that_was_told_nothing_of_a_model_offers_nothing(self) -> None:
        assert standing(None) == "no"

    def test_a_models_page_has_each_registry_in_full_and_its_streams(self) -> None:
        page = model_page(status(beside(NODE), next(iter(snapshot().models))), TERMINAL)
        assert page.endswith("""

go-livepeer 0.9.1: up for 3h, 2 starts seen, on chain, byoc + live-runner
REGISTRY     WANTED  PUBLISHED  CONFIRMED  SINCE  PRICE OR ERROR
byoc         yes     yes        yes        3m     1200/1 wei per second
live-runner  yes     yes        yes        3m     1.2 usd per hour

PHASE    FROM         REPLICA  SINCE  STREAM
running  byoc         0        1m     gw-41c7
held     live-runner  0        3s     session_a81f""")

    def test_a_models_page_says_why_it_is_not_offered_once(self) -> None:
        whisper = model_page(status(beside(NODE), ModelKey("audio-to-text", "openai/whisper-large-v3")), TERMINAL)
        assert "  offered   no: it is cold, and cold models are not offered\n" in whisper
        failed = model_page(status(beside(NODE), LLM), TERMINAL)
        assert "\n  offered " not in failed
        assert "live-runner  no      no         yes        4m" in failed

    def test_nothing_of_the_node_is_wider_than_the_terminal(self) -> None:
        pages = [overview(status(beside(node)), TERMINAL) for node in (NODE, NODE_DOWN)]
        pages += [model_page(status(beside(NODE_DOWN), key), TERMINAL) for key in snapshot().models]
        assert max(cells(line) for page in pages for line in page.splitlines()) <= 80

    def test_what_gateways_write_does_not_steer_the_terminal(self) -> None:
        key, one = next(iter(beside(NODE).models.items()))
        hostile = replace(one, streams=tuple(replace(stream, id="a\x1b[2Jb\rc") for stream in one.streams))
        assert model_page(status(replace(beside(NODE), models={key: hostile}), key), TERMINAL).count("  ab c") == 2

    def test_what_is_watched_tells_of_the_node_and_of_each_models_standing(self) -> None:
        up, down = states(status(beside(NODE))), states(status(beside(NODE_DOWN)))
        assert states({**status(beside(NODE)), "at": NOW + 5}) == up
        assert {name for name in up if up[name] != down[name]} == {"node"}
        assert down["node"].endswith("is it running?")
        assert {
            up[f"{key} offered"].partition(" at the node: ")[2].partition(":")[0] for key in beside(NODE).models
        } == {
            "byoc confirmed, live-runner confirmed",
            "byoc confirmed, live-runner missing",
            "byoc leaving, live-runner lingers",
            "byoc failing, live-runner failing",
            "no",
        }


@pytest.mark.parametrize(
    ("price", "said"),
    [
        (Price(Fraction(3), 1, Currency.USD, PriceUnit.HOUR), "3 USD per hour"),
        (Price(Fraction(3), 7), "3 wei per 7 seconds"),
        (Price(Fraction(3), 1, Currency.USD, PriceUnit.VIDEO_720P), "3 USD per hour of 720p video"),
        (Price(Fraction(3), 1, Currency.ETH, PriceUnit.FIXED), "3 eth per job or session"),
    ],
)
def test_a_price_says_for_what_it_is(price: Price, said: str) -> None:
    one = snapshot().models[LLM]
    priced = replace(snapshot(), models={LLM: replace(one, model=replace(one.model, price=price))})
    assert re.search(f"^  price     {said}$", model_page(status(priced, LLM), TERMINAL), re.MULTILINE)


def test_no_secret_is_shown_anywhere() -> None:
    shown = [overview(status(snapshot()), TERMINAL), *states(status(snapshot())).values()]
    shown += [model_page(status(snapshot(), key), TERMINAL) for key in snapshot().models]
    assert SECRET not in "".join(shown)


def test_what_is_watched_changes_with_what_happens_not_with_time() -> None:
    later: dict[str, Any] = {**status(snapshot()), "at": NOW + 5}
    assert states(later) == states(status(snapshot()))
    key = ModelKey("live/video-to-video", "green-tint-cpu")
    busier = {**snapshot().models, key: replace(snapshot().models[key], sessions=2)}
    changed = states(status(replace(snapshot(), models=busier)))
    assert changed.items() - states(later).items() == {
        (str(key), "live/video-to-video/green-tint-cpu: ready, sessions 2/4, replicas 1/1")
    }
