"""What a reader is shown: chosen fields, no secrets, and which model a name means."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orchd.domain.chain import ChainStatus, RpcStatus
from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState as S
from orchd.domain.offer import NodeStatus
from orchd.domain.outcomes import Outcome
from orchd.domain.state import (
    CertificateStatus,
    ChannelsStatus,
    ClientsStatus,
    MoneyStatus,
    Problem,
    PublicStatus,
    Severity,
    Snapshot,
    SoldCount,
    Stopped,
)
from orchd.errors import JOB_ANSWERS, Code, OrchdError
from orchd.status_view import ReadyWhen, find_model, find_shown, model_state, readiness, status, summary
from tests.fakes import snapshots
from tests.fakes.snapshots import NODE, NODE_DOWN, NOW, SECRET, beside, runner, snapshot

DOCUMENTED = (Path(__file__).parents[1] / "docs" / "reference" / "status.md").read_text()
KEYS = [ModelKey("llm", "org/a"), ModelKey("llm", "b"), ModelKey("upscale", "b"), ModelKey("org", "a")]


class TestFindModel:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [("llm/org/a", KEYS[0]), ("upscale/b", KEYS[2]), ("org/a", KEYS[3])],
        ids=["full name", "full name of one of two", "a full name goes before a bare id"],
    )
    def test_a_name_that_means_one_model(self, name: str, expected: ModelKey) -> None:
        assert find_model(name, KEYS) == expected

    def test_a_bare_id_is_enough_where_one_pipeline_has_it(self) -> None:
        assert find_model("org/a", KEYS[:3]) == KEYS[0]

    @pytest.mark.parametrize(
        ("name", "keys", "said"),
        [
            ("b", KEYS, "cannot tell which model 'b' means: llm/b, upscale/b; name the pipeline too"),
            ("c", KEYS[:2], "cannot find model 'c': there is llm/b, llm/org/a"),
            ("c", [], "cannot find model 'c': there is none at all"),
        ],
    )
    def test_any_other_name_is_refused_with_the_choices(self, name: str, keys: list[ModelKey], said: str) -> None:
        with pytest.raises(OrchdError, match=f"^{re.escape(said)}$") as caught:
            find_model(name, keys)
        assert caught.value.code is Code.UNKNOWN_TARGET


def test_an_entry_that_never_was_valid_is_no_unknown_model_its_error_is_told() -> None:
    models = {KEYS[1]: snapshots.status(snapshots.model("llm", "b"))}
    problem = Problem(Severity.ERROR, Code.BAD_REQUEST, "no such field", file="f.json", key=KEYS[0])
    seen = replace(snapshot(), models=models, problems=(problem,))
    assert find_shown("b", seen) == KEYS[1]
    with pytest.raises(OrchdError, match=r"^cannot show model llm/org/a: its entry never was valid. ") as caught:
        find_shown("org/a", seen)
    assert str(problem) in caught.value.message
    with pytest.raises(OrchdError, match=r"^cannot find model 'c': there is llm/b$"):
        find_shown("c", seen)


def standing_as(*words: str, leaving: str = "") -> Snapshot:
    """Return a snapshot with a model for each word: ready, full, startable, or why it can't serve."""
    models = {}
    for number, word in enumerate([*words, *filter(None, [leaving])]):
        of = snapshots.model("llm", f"m{number}", max_sessions=2)
        state = S.READY if word in ("ready", "full") else S.COLD if word == "startable" else S.BACKOFF
        one = snapshots.status(of, runner(of, 0, state, 1.0, sessions=2 if word == "full" else 0))
        reason = "" if state is S.READY else word
        models[of.key] = replace(
            one, startable=word == "startable", reason=reason, leaving=bool(leaving) and number == len(words)
        )
    return Snapshot(models=models, file_hash="4f53cda18c2b")


class TestReadiness:
    def test_a_bad_entry_is_listed_and_is_no_reason(self) -> None:
        ready, body = readiness(snapshot(), True, "any")
        assert ready
        assert body["reasons"] == []
        assert len(body["problems"]) == 2

    @pytest.mark.parametrize(
        ("seen", "any_of_them", "all_of_them"),
        [
            (standing_as(), True, True),
            (standing_as("ready"), True, True),
            (standing_as("full"), True, True),
            (standing_as("startable"), True, True),
            (standing_as("engine is down"), False, False),
            (standing_as("engine is down", "full"), True, False),
            (standing_as("engine is down", "startable"), True, False),
            (standing_as("engine is down", "exited"), False, False),
            (standing_as(leaving="draining"), True, True),
            (standing_as("exited", leaving="ready"), False, False),
            (standing_as("ready", leaving="draining"), True, True),
        ],
    )
    def test_the_setting_says_how_many_models_must_be_able_to_serve(
        self, seen: Snapshot, any_of_them: bool, all_of_them: bool
    ) -> None:
        """A model that has left the file counts neither way; listening asks for none."""
        expected: dict[ReadyWhen, bool] = {"any": any_of_them, "all": all_of_them, "listening": True}
        for when, ready in expected.items():
            told, body = readiness(seen, True, when)
            assert (told, body["status"], body["ready_when"]) == (ready, "ready" if ready else "not ready", when)
            assert bool(body["reasons"]) is not ready
            assert not readiness(seen, False, when)[0], "jobs are not taken"

    def test_the_words_say_which_model_and_why(self) -> None:
        _, body = readiness(standing_as("engine is down", "exited"), True, "any")
        assert body["reasons"] == ["no model of 2 can serve"]
        assert body["models"] == {"wanted": 2, "can_serve": 0}
        assert body["cannot_serve"] == ["llm/m0: engine is down", "llm/m1: exited"]
        _, body = readiness(standing_as("engine is down", "ready"), True, "all")
        assert body["reasons"] == ["1 of 2 models can't serve"]
        _, body = readiness(standing_as(*["exited"] * 300), True, "any")
        assert len(body["cannot_serve"]) == 20

    def test_models_held_over_without_a_file_are_fine(self) -> None:
        assert readiness(Snapshot(models=snapshot().models), True, "any")[0]

    @pytest.mark.parametrize(
        ("seen", "accepting", "reason"),
        [
            (snapshot(), False, "orchd does not take jobs: it is starting or shutting down"),
            (Snapshot(), True, "no models file has applied yet"),
        ],
    )
    def test_what_keeps_it_from_serving_is_told(self, seen: Snapshot, accepting: bool, reason: str) -> None:
        ready, body = readiness(seen, accepting, "any")
        assert not ready
        assert body["reasons"] == [reason]

    def test_no_secret_is_in_it(self) -> None:
        _, body = readiness(standing_as(f"it said {SECRET}"), True, "any")
        assert SECRET not in json.dumps(body)


class TestSummary:
    @pytest.mark.parametrize(
        ("seen", "line"),
        [
            (Snapshot(), "no models: no models file has applied yet"),
            (standing_as(), "no models"),
            (standing_as("ready", "full", leaving="draining"), "2 of 2 models ready"),
            (standing_as("ready", "startable"), "1 of 2 models ready, 1 cold"),
            (standing_as("ready", "engine is down"), "1 of 2 models ready; llm/m1: engine is down"),
            (standing_as(f"it said {SECRET}"), "0 of 1 models ready; llm/m0: it said ***"),
        ],
    )
    def test_it_is_one_line_with_the_worst_reason(self, seen: Snapshot, line: str) -> None:
        assert summary(seen) == line

    def test_the_worst_is_told_whatever_the_order(self) -> None:
        line = summary(snapshot())
        assert line.startswith("2 of 5 models ready, 1 cold; llm/meta-llama/Meta-Llama-3.1-8B-Instruct: ")


class TestStatus:
    def test_no_secret_is_in_it_even_where_a_runner_wrote_it(self) -> None:
        text = json.dumps(status(snapshot()))
        assert SECRET not in text
        assert "***" in text

    def test_one_model_brings_its_problems_and_those_of_the_whole_file(self) -> None:
        llm = ModelKey("llm", "meta-llama/Meta-Llama-3.1-8B-Instruct")
        one = status(snapshot(), llm)
        assert [m["model_id"] for m in one["models"]] == [llm.model_id]
        assert [p["line"] for p in one["problems"]] == [41]

    def test_prices_are_exact(self) -> None:
        assert status(snapshot())["models"][0]["price"] == {
            "per_unit": "3/2",
            "pixels_per_unit": 1,
            "currency": "wei",
            "unit": "second",
        }

    def test_every_field_is_documented_and_every_documented_one_is_there(self) -> None:
        named = set(re.findall(r"[a-z][a-z0-9_]*", " ".join(re.findall(r"`([a-z.][a-z0-9_.\[\]]*)`", DOCUMENTED))))
        known, stopped = beside(NODE), Stopped("alice", NOW)
        models = {key: replace(one, stopped=stopped) for key, one in known.models.items()}
        public = PublicStatus(
            ("0.0.0.0:8443",), "https://h", "", ("byoc",), CertificateStatus(NOW, True, ""), clients=ClientsStatus(NOW)
        )
        channels = ChannelsStatus(5, 1000, 3, 0)
        sold = (SoldCount(ModelKey("llm", "m"), persistent=True, paid=1),)
        known = replace(known, public=public, channels=channels, sold=sold, models=models)
        known = replace(known, stopped_elsewhere={ModelKey("llm", "left"): stopped})
        known = replace(known, chain=ChainStatus(1, "0x12", (RpcStatus("h", up=True),)), money=MoneyStatus())
        shown = names(status(known)) - {"byoc", "live-runner", *({*Outcome, *JOB_ANSWERS} - named)}
        assert shown - named == set()
        words = {"true", "null", "error", "warning", "container", "process", "external", "ready", "gateway", "byoc"}
        words |= {"persistent"}
        words |= {"gone"}  # of `orchd status --json --watch`
        assert named - shown - words == set()

    def test_without_a_node_nothing_is_said_of_one(self) -> None:
        shown = status(snapshot())
        assert shown["node"] is None
        assert [(m["registries"], m["not_offered"], m["streams"]) for m in shown["models"]] == [({}, "", [])] * 5

    def test_the_node_is_told_with_what_is_wrong_with_it(self) -> None:
        assert json.loads(json.dumps(status(beside(NODE_DOWN))["node"])) == {
            "up": False,
            "epoch": 2,
            "since": NOW - 260,
            "on_chain": True,
            "version": "0.9.1",
            "registries": ["byoc", "live-runner"],
            "error": "cannot reach go-livepeer at https://127.0.0.1:8935: connection refused; is it running?",
            "code": "node_unreachable",
            "program": "go-livepeer",
            "notes": [],
            "callback": {
                "url": "http://127.0.0.1:8737",
                "by_us": True,
                "by_node": True,
                "since": NOW - 11_000,
                "error": "",
                "code": None,
                "note": "",
                "blocks": False,
            },
        }
        assert status(beside(NodeStatus()))["node"]["on_chain"] is None

    def test_a_model_tells_how_it_stands_in_each_registry_and_its_streams(self) -> None:
        green, sdxl, *_ = json.loads(json.dumps(status(beside(NODE))))["models"]
        assert sdxl["registries"] == {
            "byoc": {
                "wanted": True,
                "published": True,
                "confirmed": True,
                "since": NOW - 190,
                "error": "",
                "code": None,
                "price": "1200/1 wei per second",
                "full": False,
            },
            "live-runner": {
                "wanted": True,
                "published": True,
                "confirmed": False,
                "since": NOW - 900,
                "error": "cannot confirm what go-livepeer offers: it is not listed",
                "code": "node_refused",
                "price": "1.2 usd per hour",
                "full": False,
            },
        }
        assert green["streams"] == [
            {"id": "gw-41c7", "origin": "byoc", "phase": "running", "since": NOW - 61, "replica": 0},
            {"id": "session_a81f", "origin": "live-runner", "phase": "held", "since": NOW - 3, "replica": 0},
        ]

    def test_why_a_model_is_not_offered_has_no_secret_of_its_runner(self) -> None:
        key, one = next(iter(snapshot().models.items()))
        leaky = replace(one, not_offered=f"replica 0 failed: token={SECRET}")
        [shown] = status(replace(snapshot(), models={key: leaky}))["models"]
        assert shown["not_offered"] == "replica 0 failed: token=***"

    @pytest.mark.parametrize(
        ("states", "expected"),
        [
            ((), "cold"),
            ((S.COLD,), "cold"),
            ((S.READY, S.FAILED), "ready"),
            ((S.LOADING, S.FAILED), "failed"),
            ((S.STARTING, S.LOADING), "loading"),
            ((S.COLD, S.PULLING), "pulling"),
        ],
    )
    def test_one_word_tells_most_about_all_runners(self, states: tuple[S, ...], expected: str) -> None:
        of = snapshots.model("p", "m")
        assert model_state(snapshots.status(of, *(runner(of, n, s, 1) for n, s in enumerate(states)))) == expected


def names(value: Any) -> set[str]:
    """Return the names of all members in `value`, at any depth."""
    if isinstance(value, dict):
        return set(value) | {name for inner in value.values() for name in names(inner)}
    if isinstance(value, list | tuple):
        return {name for inner in value for name in names(inner)}
    return set()
