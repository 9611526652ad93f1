"""`orchd status`: readable at 80 columns, the reasons in full, and no secret in it."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from orchd.cli.status import model_page, overview, states
from orchd.cli.text import Look, cells
from orchd.domain.ids import ModelKey
from orchd.domain.state import Snapshot
from orchd.status_view import status
from tests.fakes.snapshots import NOW, SECRET, snapshot

TERMINAL = Look(80)
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
    painted = overview(status(snapshot()), Look(80, colour=True))
    assert painted != OVERVIEW
    assert re.sub(r"\x1b\[\d+m", "", painted) == OVERVIEW


def test_without_a_terminal_each_model_is_one_line() -> None:
    lines = overview(status(snapshot()), Look()).splitlines()
    assert [line.split()[1] for line in lines[1:6]] == ["ready", "ready", "failed", "cold", "unhealthy"]
    assert "each time it failed" in lines[3]


def test_no_models_is_said_with_the_way_out() -> None:
    page = overview(status(Snapshot()), TERMINAL)
    assert page.splitlines() == [
        *("No models. Add an entry to the models file.", "", "Models file: none has applied yet")
    ]


def test_a_bad_file_says_what_runs_instead() -> None:
    page = overview(status(replace(snapshot(), reload_ok=False)), TERMINAL)
    assert page.endswith("Models file: the newest does not apply; running from 1f0c9a3b7d21")


def test_held_over_and_leaving_models_say_so() -> None:
    models = {key: replace(one, held_over=key == LLM, leaving=key != LLM) for key, one in snapshot().models.items()}
    lines = states(status(replace(snapshot(), models=models)))
    assert "running from its last good definition, its entry is bad" in lines[str(LLM)]
    assert lines["audio-to-text/openai/whisper-large-v3"].endswith("no longer in the file, finishing its sessions")


class TestModelPage:
    def page(self, look: Look = TERMINAL, key: ModelKey = LLM) -> str:
        return model_page(status(snapshot(), key), look)

    def test_facts_runners_log_and_events_are_there(self) -> None:
        page = self.page()
        assert page.startswith(f"{LLM}\n  state     failed\n  why       replica 0 failed: exited with code 137")
        assert "  runs      ghcr.io/acme/runner:1.2 (container, profile batch)\n" in page
        assert "  price     3/2 wei per unit\n" in page
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

    def test_nothing_is_wider_than_the_terminal(self) -> None:
        pages = [self.page(key=key) for key in snapshot().models]
        assert max(cells(line) for page in pages for line in page.splitlines()) <= 80


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
