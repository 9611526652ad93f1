"""`orchd status`: readable at 80 columns, the reasons in full, and no secret in it."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from orchd.advertise.status import standing
from orchd.cli.status_pages import model_page, overview, states
from orchd.domain.ids import ModelKey
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.domain.offer import NodeStatus
from orchd.domain.state import RuntimeStatus, Snapshot
from orchd.errors import Code
from orchd.node.status import node_line
from orchd.status_view import status
from orchd.text import TextStyle, cells
from tests.fakes.snapshots import NODE, NODE_DOWN, NOW, SECRET, beside, published, snapshot

TERMINAL = TextStyle(80)
LLM = ModelKey("llm", "meta-llama/Meta-Llama-3.1-8B-Instruct")

OVERVIEW = """\
MODEL                                      STATE      SESSIONS  REPLICAS  SINCE  DETAIL
live/video-to-video/green-tint-cpu         ready      1/4       1/1       3m
text-to-image/stabilityai/sdxl-turbo       ready      3/8       1/2       1d
    replica 1 backoff: exited with code 1: CUDA error
llm/meta-llama/Meta-Llama-3.1-8B-Instruct  failed     0/1       0/1       4m
    replica 0 failed: exited with code 137, out of memory; started 6 times
    within 10 minutes, each time it failed
audio-to-text/openai/whisper-large-v3      cold       0/1 (+2)  0/1       -
    cold: its first job starts it
image-to-text/図書館/キャプション          unhealthy  0/1       0/1       31s
    replica 0 unhealthy: connection refused, Authorization: Bearer ***

The container runtime is down
    cannot reach Docker Engine at /var/run/docker.sock: no such file

Problems
  error    /etc/orchd/aiModels.json:41:7: entry 3
           (llm/meta-llama/Meta-Llama-3.1-8B-Instruct) field health.interval_s:
           cannot read health.interval_s = 'often': a number of seconds is
           expected
  warning  /etc/orchd/aiModels.json:12: entry 1: unknown key maxSesions; did you
           mean maxSessions?

Models file: applied 2m ago (1f0c9a3b7d21)"""


def test_the_overview_at_80_columns() -> None:
    assert overview(status(snapshot()), TERMINAL) == OVERVIEW


def test_colour_changes_nothing_but_colour() -> None:
    painted = overview(status(snapshot()), TextStyle(80, colour=True))
    assert painted != OVERVIEW
    assert re.sub(r"\x1b\[\d+m", "", painted) == OVERVIEW


def test_without_a_terminal_each_model_is_one_line() -> None:
    lines = overview(status(snapshot()), TextStyle()).splitlines()
    assert [line.split()[1] for line in lines[1:6]] == ["ready", "ready", "failed", "cold", "unhealthy"]
    assert "each time it failed" in lines[3]


def test_no_models_is_said_with_the_way_out() -> None:
    page = overview(status(Snapshot()), TERMINAL)
    assert page.splitlines() == [
        *("No models. Add an entry to the models file.", "", "Models file: none has applied yet")
    ]


def test_a_runtime_that_no_model_needs_is_not_complained_of() -> None:
    away = replace(snapshot(), runtimes=(RuntimeStatus("container", up=False, detail="no Docker here", needed=False),))
    assert "The container runtime is down" in overview(status(snapshot()), TERMINAL)
    assert "runtime" not in overview(status(away), TERMINAL)


def test_a_bad_file_says_what_runs_instead() -> None:
    page = overview(status(replace(snapshot(), reload_ok=False)), TERMINAL)
    assert page.endswith("Models file: the newest does not apply; running from 1f0c9a3b7d21")


def test_held_over_and_leaving_models_say_so() -> None:
    leaving = {"leaving": True, "reason": ""}
    models = {
        key: replace(one, **({"held_over": True} if key == LLM else leaving)) for key, one in snapshot().models.items()
    }
    lines = states(status(replace(snapshot(), models=models)))
    assert "going by its last good definition, since its entry, or the whole file, has an error" in lines[str(LLM)]
    assert lines["audio-to-text/openai/whisper-large-v3"].endswith("no longer in the file")


class TestModelPage:
    def page(self, style: TextStyle = TERMINAL, key: ModelKey = LLM) -> str:
        return model_page(status(snapshot(), key), style)

    def test_facts_runners_log_and_events_are_there(self) -> None:
        page = self.page()
        assert page.startswith(f"{LLM}\n  state     failed\n  why       replica 0 failed: exited with code 137")
        assert "  runs      ghcr.io/acme/runner:1.2 (container, profile batch)\n" in page
        assert "  price     3/2 wei per second\n" in page
        assert "\nLast log lines of replica 0\n    loading shards 3/4\n    token=***\n" in page

    def test_events_come_latest_first_each_with_its_reason_and_evidence(self) -> None:
        events = self.page().partition("Events, latest first\n")[2]
        moves = re.findall(r"#0  (\w+ -> \w+)", events)
        assert moves[0] == "stopping -> failed"
        assert moves[-1] == "cold -> pulling"
        assert "      the container ended by itself\n      exit code 137, OOM killed; Bearer ***\n" in events

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


NODE_SECTION = """\
go-livepeer 0.9.1: up for 3h, 2 starts seen, on chain, byoc + live-runner
    offers 2 of 3 by byoc, 1 of 3 by live-runner
MODEL                                      BYOC          LIVE-RUNNER   WHY
live/video-to-video/green-tint-cpu         confirmed 3m  confirmed 3m
text-to-image/stabilityai/sdxl-turbo       confirmed 3m  missing 15m
    live-runner: cannot confirm what go-livepeer offers: it is not listed
llm/meta-llama/Meta-Llama-3.1-8B-Instruct  leaving 4m    lingers 4m
    it is failed; live-runner: cannot confirm what go-livepeer offers: it is
    still listed
audio-to-text/openai/whisper-large-v3      no            no
    it is cold, and cold models are not offered (orchestrator.offer_cold)
image-to-text/図書館/キャプション          failing 4s    failing 0s
    byoc: cannot register the model at go-livepeer: it says 'price too high';
    live-runner: cannot publish the price: 0 can't be published on chain"""


class TestBesideANode:
    def section(self, snapshot: Snapshot, style: TextStyle = TERMINAL) -> str:
        """Return what the overview says of the node: between the models and what follows."""
        return overview(status(snapshot), style).split("\n\n")[1]

    def test_the_overview_tells_what_is_offered_and_what_is_not_and_why(self) -> None:
        page = overview(status(beside(NODE)), TERMINAL)
        models, _, rest = OVERVIEW.partition("\n\n")
        assert page == f"{models}\n\n{NODE_SECTION}\n\n{rest}"

    def test_a_node_that_is_down_says_why_and_nothing_looks_alive(self) -> None:
        painted = self.section(beside(NODE_DOWN), TextStyle(80, colour=True))
        lines = painted.splitlines()
        assert lines[0].startswith("\x1b[31mgo-livepeer 0.9.1: down for 4m, 2 starts seen")
        assert "".join(lines[1:3]).split() == NODE_DOWN.error.split()
        assert lines[3] == "    offered when it was up: 2 of 3 by byoc, 1 of 3 by live-runner"
        assert "\x1b[32m" not in painted

    def test_an_error_that_the_nodes_line_tells_is_not_told_for_each_model_too(self) -> None:
        key, one = next(iter(snapshot().models.items()))
        away = published(9, error="cannot reach go-livepeer", code=Code.NODE_UNREACHABLE)
        shown = replace(beside(NODE_DOWN), models={key: replace(one, registries=dict.fromkeys(NODE.registries, away))})
        assert self.section(shown).endswith("confirmed 9s  confirmed 9s")
        back = self.section(replace(shown, node=NODE))
        assert back.endswith("    byoc and live-runner: cannot reach go-livepeer")

    def test_a_node_that_was_never_seen(self) -> None:
        never = replace(NodeStatus(), error=NODE_DOWN.error, code=NODE_DOWN.code)
        assert self.section(replace(snapshot(), node=never)).splitlines() == [
            "go-livepeer: not seen yet",
            "    cannot reach go-livepeer at https://127.0.0.1:8935: connection refused; is",
            "    it running?",
        ]

    def test_without_models_the_node_alone_is_told(self) -> None:
        page = overview(status(Snapshot(node=NODE, at=NOW)), TERMINAL)
        assert page.splitlines()[2] == node_line(status(Snapshot(node=NODE))["node"], NOW)
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
        ],
        ids=["all is known", "no version, no registry", "not known whether on chain"],
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
        pages = [self.section(beside(node)) for node in (NODE, NODE_DOWN)]
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
            up[f"{key} offered"].partition(" at go-livepeer: ")[2].partition(":")[0] for key in beside(NODE).models
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
