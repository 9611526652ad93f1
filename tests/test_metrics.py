"""Metrics: names, types and labels are an interface; label values are bounded whatever callers and runners do."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from orchd import daemon_metrics
from orchd.admin.server import AdminServer
from orchd.admin.settings import AdminSettings
from orchd.advertise import registries
from orchd.advertise.metrics import REGISTRIES, REGISTRY_CODES
from orchd.domain.chain import ChainStatus
from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.domain.model import Secret
from orchd.domain.offer import Callback, NodeStatus, Published
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.domain.state import ClientsStatus, Problem, Severity, Snapshot
from orchd.errors import JOB_ANSWERS, Code
from orchd.exposition import MetricsRegistry
from orchd.jobs.metrics import JOB_BUCKETS, OUTCOMES, PROCESSING_ERRORS, STATUS_CLASSES
from orchd.metric_lines import Family
from orchd.parts import faces
from orchd.realtime.metrics import PHASES
from orchd.reconcile.metrics import RESTART_REASONS
from orchd.rpc.server import RpcServer
from orchd.rpc.urls import RpcUrl
from orchd.runtime.metrics import RUNTIME_EVENTS
from orchd.sold.live import STATES
from orchd.tickets.validation.faults import Fault
from tests.collectors import Metrics
from tests.fakes.rpc import FakeRpcClient
from tests.fakes.snapshots import fresh
from tests.prometheus import DEPLOY, Prometheus

KEY = ModelKey("text-to-image", 'org/na"me')
NOBODY = ModelKey("", "")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

INTERFACE = {
    "byoc_errors": ("counter", {"source", "pipeline", "model_id", "type"}),
    "byoc_frame_latency_ms": ("histogram", {"source", "pipeline", "model_id"}),
    "byoc_sessions_active": ("gauge", {"source", "pipeline", "model_id"}),
    "orchd_build_info": ("gauge", {"version", "python"}),
    "orchd_callback_reached": ("gauge", {"by"}),
    "orchd_chain_active": ("gauge", set()),
    "orchd_channels": ("gauge", set()),
    "orchd_channels_bytes": ("gauge", set()),
    "orchd_channels_refused": ("counter", set()),
    "orchd_channels_requests": ("gauge", set()),
    "orchd_chain_age_seconds": ("gauge", set()),
    "orchd_chain_l1_block": ("gauge", set()),
    "orchd_chain_payers": ("gauge", set()),
    "orchd_chain_round": ("gauge", set()),
    "orchd_connections": ("gauge", {"side"}),
    "orchd_connections_closed": ("counter", {"reason"}),
    "orchd_hook_failures": ("counter", {"call", "hook"}),
    "orchd_hook_refusals": ("counter", {"hook", "reason"}),
    "orchd_converged": ("gauge", set()),
    "orchd_entry_errors": ("gauge", {"pipeline", "model_id"}),
    "orchd_file_problems": ("gauge", {"severity"}),
    "orchd_job_errors": ("counter", {"pipeline", "model_id", "code"}),
    "orchd_job_failed_seconds": ("histogram", {"pipeline", "model_id"}),
    "orchd_job_first_byte_seconds": ("histogram", {"pipeline", "model_id"}),
    "orchd_job_hold_seconds": ("histogram", {"pipeline", "model_id"}),
    "orchd_job_seconds": ("histogram", {"pipeline", "model_id"}),
    "orchd_jobs": ("counter", {"pipeline", "model_id", "outcome"}),
    "orchd_model_held_over": ("gauge", {"pipeline", "model_id"}),
    "orchd_model_leaving": ("gauge", {"pipeline", "model_id"}),
    "orchd_model_ready": ("gauge", {"pipeline", "model_id"}),
    "orchd_model_startable": ("gauge", {"pipeline", "model_id"}),
    "orchd_model_stopped": ("gauge", {"pipeline", "model_id"}),
    "orchd_node_starts": ("counter", set()),
    "orchd_node_up": ("gauge", set()),
    "orchd_ledger_failures": ("counter", set()),
    "orchd_tickets_forfeited_eth": ("counter", set()),
    "orchd_paid_sessions": ("gauge", {"pipeline", "model_id"}),
    "orchd_payments": ("counter", {"result", "scheme"}),
    "orchd_payments_refused": ("counter", {"reason"}),
    "orchd_tickets": ("counter", {"scheme"}),
    "orchd_tickets_expected_eth": ("counter", {"pipeline", "model_id"}),
    "orchd_tickets_won_eth": ("counter", {"pipeline", "model_id"}),
    "orchd_tickets_owed_eth": ("gauge", {"pipeline", "model_id"}),
    "orchd_tickets_rounds_left": ("gauge", set()),
    "orchd_tickets_expired_eth": ("counter", {"pipeline", "model_id"}),
    "orchd_ticket_winners_expected": ("counter", {"pipeline", "model_id"}),
    "orchd_ticket_winners": ("counter", {"pipeline", "model_id"}),
    "orchd_probe_seconds": ("histogram", {"pipeline", "model_id"}),
    "orchd_loop_lag_seconds": ("histogram", set()),
    "orchd_probes": ("counter", {"pipeline", "model_id", "result"}),
    "orchd_registry_changed_timestamp_seconds": ("gauge", {"pipeline", "model_id", "registry"}),
    "orchd_registry_confirmed": ("gauge", {"pipeline", "model_id", "registry"}),
    "orchd_registry_errors": ("counter", {"registry", "code"}),
    "orchd_registry_failing": ("gauge", {"pipeline", "model_id", "registry", "code"}),
    "orchd_registry_published": ("gauge", {"pipeline", "model_id", "registry"}),
    "orchd_registry_wanted": ("gauge", {"pipeline", "model_id", "registry"}),
    "orchd_public_answers": ("counter", {"door", "route", "class"}),
    "orchd_public_certificate_left_seconds": ("gauge", set()),
    "orchd_public_last_client_timestamp_seconds": ("gauge", {"to"}),
    "orchd_public_payers": ("gauge", set()),
    "orchd_public_handshakes_failed": ("counter", {"reason"}),
    "orchd_public_connections_refused": ("counter", set()),
    "orchd_public_not_found": ("counter", set()),
    "orchd_public_rate_limited": ("counter", {"by"}),
    "orchd_reload_hash": ("gauge", set()),
    "orchd_reload_success": ("gauge", set()),
    "orchd_reload_timestamp_seconds": ("gauge", set()),
    "orchd_rpc_failures": ("counter", {"server"}),
    "orchd_rpc_requests": ("counter", {"server"}),
    "orchd_rpc_up": ("gauge", {"server"}),
    "orchd_runner_answers": ("counter", {"pipeline", "model_id", "class"}),
    "orchd_runner_restarts": ("counter", {"pipeline", "model_id", "reason"}),
    "orchd_runners": ("gauge", {"pipeline", "model_id", "state"}),
    "orchd_runtime_events": ("counter", {"runtime", "event"}),
    "orchd_runtime_up": ("gauge", {"runtime"}),
    "orchd_sessions_active": ("gauge", {"pipeline", "model_id"}),
    "orchd_sessions_letting_go": ("gauge", {"pipeline", "model_id"}),
    "orchd_sessions_max": ("gauge", {"pipeline", "model_id"}),
    "orchd_sessions_pending": ("gauge", {"pipeline", "model_id"}),
    "orchd_sold_sessions": ("gauge", {"pipeline", "model_id", "state"}),
    "orchd_streams": ("gauge", {"pipeline", "model_id", "phase"}),
}
"""Family (without `_total`): type, labels."""


NODE = NodeStatus(up=True, epoch=3, registries=("byoc", "live-runner"))
OFFERED = Published(wanted=True, published=True, confirmed=True, since=1_700_000_100.0)
REFUSED = Published(
    wanted=True,
    published=False,
    confirmed=None,
    since=1_700_000_200.0,
    error="cannot register x: the secret is wrong",
    code=Code.NODE_SECRET,
)


PROBLEMS = (
    Problem(Severity.ERROR, Code.ENTRY_INVALID, "cannot use it", entry=0, key=KEY),
    Problem(Severity.WARNING, Code.ENTRY_INVALID, "unknown key", entry=0, key=KEY),
    Problem(Severity.WARNING, Code.ENTRY_INVALID, "unknown key", entry=1),
)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(MetricsRegistry(), "1.2.3")


def samples(metrics: Metrics) -> Samples:
    """Return what a scraper knows by its second page: series that are new have their values on it."""
    metrics.render()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, key: ModelKey | None = None, **labels: str) -> float | None:
    model = {"pipeline": key.pipeline, "model_id": key.model_id} if key else {}
    return samples(metrics).get((name, frozenset((model | labels).items())))


def use_all(metrics: Metrics) -> None:
    metrics.define(KEY, 3)
    metrics.job_finished(KEY, "ok", "", 3.0, 0.5, 1.0, 200)
    metrics.job_finished(KEY, "backend_failed", Code.BACKEND_BROKE, 0.2, None, 0.0)
    metrics.slots_from(lambda key: (2, 1, 1))
    metrics.held_over, metrics.leaving = {KEY}, {KEY}
    metrics.connections_from(lambda: {"caller": 3, "runner": 1})
    metrics.connection_closed("idle")
    metrics.request_refused(Code.HEADER_TOO_LARGE)
    metrics.state(KEY, {"ready": 2, "backoff": 1}, ready=True, startable=False)
    metrics.restarted(KEY, "exited")
    metrics.probed(KEY, "ready", 0.01)
    metrics.reloaded(True, 1_700_000_000.0, "abcdef012345", PROBLEMS)
    metrics.runtime_event("container", "die")
    metrics.runtime_up("container", True, needed=True)
    standings = {"byoc": {KEY: OFFERED}, "live-runner": {KEY: REFUSED}}
    metrics.node_from(lambda: NODE)
    metrics.registries_from(lambda: standings)
    metrics.streams_from(lambda: {KEY: {"running": 2, "held": 1}})
    metrics.sold_from(lambda: {KEY: {"pending": 1, "active": 2}})
    metrics.registry_error("live-runner", Code.NODE_SECRET)
    metrics.callback = Callback("http://127.0.0.1:8737", by_us=True, by_node=False)
    metrics.hooks.refused("paywall", "payment_required")
    metrics.hooks.failed("paywall", "admit")
    metrics.chain = ChainStatus(42161, "0x1", l1_block=23_500_000, round=4321, read_at=1.0, active=True, payers=2)
    url = RpcUrl("arb.example.com", Secret("https://arb.example.com/k3y"))
    metrics.rpc_servers = (RpcServer(url, FakeRpcClient(), 42161, lambda: 0.0),)
    metrics.payments.taken("byoc", 3)
    metrics.payments.refused("byoc", Fault.NONCE_SEEN)
    metrics.answered("byoc", "token", 200)
    metrics.certificate_expires_at = 1_800_000_000.0
    metrics.clients = ClientsStatus(1.0, discovery_at=2.0, challenge_at=3.0, paid_at=4.0, payers=1)


def test_families_types_and_labels_are_the_documented_ones(metrics: Metrics) -> None:
    use_all(metrics)
    metrics.define(ModelKey("llm", "stopped"), 1)
    metrics.state(ModelKey("llm", "stopped"), {}, ready=False, startable=False, stopped=True)
    found = {
        family.name: (family.type, {label for s in family.samples for label in s.labels} - {"le"})
        for family in text_string_to_metric_families(metrics.render().decode())
        if family.name.startswith(("orchd_", "byoc_"))
    }
    assert found == INTERFACE


def test_what_the_code_says_of_a_family_is_what_its_page_has(metrics: Metrics) -> None:
    use_all(metrics)
    page = metrics.render().decode()
    said = {
        family.name: (family.type, set(family.labels))
        for module in (daemon_metrics, *faces("metrics"))
        for family in vars(module).values()
        if isinstance(family, Family) and family.name
    }
    assert {name.removesuffix("_total"): about for name, about in said.items()} == INTERFACE
    assert set(re.findall(r"^# TYPE ((?:orchd|byoc)\S+)", page, re.MULTILINE)) == set(said)


def test_what_happened_is_counted_where_it_belongs(metrics: Metrics) -> None:
    use_all(metrics)
    assert value(metrics, "orchd_jobs_total", KEY, outcome="ok") == 1
    assert value(metrics, "orchd_jobs_total", KEY, outcome="backend_failed") == 1
    assert value(metrics, "orchd_job_errors_total", KEY, code="backend_broke") == 1
    assert value(metrics, "orchd_job_seconds_sum", KEY) == pytest.approx(3.0)
    assert value(metrics, "orchd_job_failed_seconds_sum", KEY) == pytest.approx(0.2)
    assert value(metrics, "orchd_job_first_byte_seconds_count", KEY) == 1
    assert value(metrics, "orchd_job_hold_seconds_sum", KEY) == 1.0
    assert value(metrics, "orchd_job_errors_total", ModelKey("", ""), code="header_too_large") == 1
    assert value(metrics, "orchd_sessions_active", KEY) == 2
    assert value(metrics, "orchd_sessions_letting_go", KEY) == 1
    assert value(metrics, "orchd_sessions_pending", KEY) == 1
    assert value(metrics, "orchd_model_held_over", KEY) == 1
    assert value(metrics, "orchd_model_leaving", KEY) == 1
    assert value(metrics, "orchd_converged") == 1
    assert value(metrics, "orchd_entry_errors", KEY) == 1
    assert value(metrics, "orchd_connections", side="caller") == 3
    assert value(metrics, "orchd_connections_closed_total", reason="idle") == 1
    assert value(metrics, "orchd_sessions_max", KEY) == 3
    assert value(metrics, "orchd_runners", KEY, state="ready") == 2
    assert value(metrics, "orchd_runners", KEY, state="failed") == 0
    assert value(metrics, "orchd_model_ready", KEY) == 1
    assert value(metrics, "orchd_model_startable", KEY) == 0
    assert value(metrics, "orchd_runner_restarts_total", KEY, reason="exited") == 1
    assert value(metrics, "orchd_probes_total", KEY, result="ready") == 1
    assert value(metrics, "orchd_reload_success") == 1
    assert value(metrics, "orchd_reload_timestamp_seconds") == 1_700_000_000.0
    assert value(metrics, "orchd_reload_hash") == 0xABCDEF012345
    assert value(metrics, "orchd_file_problems", severity="warning") == 2
    assert value(metrics, "orchd_runtime_events_total", runtime="container", event="die") == 1
    assert value(metrics, "orchd_runtime_up", runtime="container") == 1


def test_the_documents_names_hold_what_orchd_measures(metrics: Metrics) -> None:
    """Latency is milliseconds of the runner's work: waiting for a cold model is not in it, nor are failed jobs."""
    use_all(metrics)
    assert value(metrics, "byoc_sessions_active", KEY, source="orchd") == 2
    assert value(metrics, "byoc_frame_latency_ms_sum", KEY, source="orchd") == pytest.approx(2000)
    assert value(metrics, "byoc_frame_latency_ms_count", KEY, source="orchd") == 1
    assert value(metrics, "byoc_errors_total", KEY, source="orchd", type="backend_broke") == 1


@pytest.mark.parametrize("outcome", Outcome)
def test_a_job_that_ends_at_once_since_it_was_refused_or_failed_does_not_make_the_others_look_quick(
    outcome: Outcome, metrics: Metrics
) -> None:
    """One that ended since it took long stays with those that were served: without it they would look quick, too."""
    metrics.define(KEY, 1)
    metrics.job_finished(KEY, outcome, "", 0.0002, None, 0.0, 500 if outcome is Outcome.RUNNER_ERROR else 0)
    served, apart = (value(metrics, f"orchd_job_{word}seconds_count", KEY) for word in ("", "failed_"))
    stays = outcome in (Outcome.OK, Outcome.TIMEOUT, Outcome.CLIENT_GONE, Outcome.ABORTED)
    assert (served, apart) == ((1, None) if stays else (None, 1))


def test_what_few_models_are_is_on_the_page_only_while_they_are(metrics: Metrics) -> None:
    metrics.define(KEY, 1)
    few = ("orchd_model_held_over", "orchd_model_leaving", "orchd_sessions_pending", "orchd_entry_errors")
    assert [name for name, _ in samples(metrics) if name in few] == []
    metrics.slots_from(lambda key: (0, 0, 2))
    metrics.held_over = metrics.leaving = {KEY}
    metrics.converged = False
    bad = Problem(Severity.ERROR, Code.ENTRY_INVALID, "cannot tell its model_id", entry=4)
    metrics.reloaded(True, 100.0, "00000000000a", [*PROBLEMS, bad])
    assert [value(metrics, name, KEY) for name in few] == [1, 1, 2, 1]
    assert value(metrics, "orchd_entry_errors", NOBODY) == 1
    assert value(metrics, "orchd_converged") == 0
    metrics.slots_from(lambda key: (0, 0, 0))
    metrics.held_over = metrics.leaving = set()
    metrics.reloaded(True, 200.0, "00000000000b")
    assert [value(metrics, name, KEY) for name in few] == [None, None, 0, None]


def test_an_error_of_the_whole_file_is_no_entrys(metrics: Metrics) -> None:
    metrics.reloaded(False, 100.0, "", [Problem(Severity.ERROR, Code.FILE_MALFORMED, "cannot read on")])
    assert [name for name, _ in samples(metrics) if name == "orchd_entry_errors"] == []
    assert value(metrics, "orchd_file_problems", severity="error") == 1


SECONDS = st.one_of(st.sampled_from([0.0, *JOB_BUCKETS]), st.floats(0, 1000))


@given(st.lists(st.tuples(SECONDS, st.one_of(st.none(), SECONDS), st.one_of(st.just(0.0), SECONDS)), max_size=20))
def test_histograms_of_jobs_say_what_prometheus_own_would(jobs: list[tuple[float, float | None, float]]) -> None:
    metrics, theirs = Metrics(MetricsRegistry(), "1.2.3"), CollectorRegistry()
    names = {
        "orchd_job_seconds": JOB_BUCKETS,
        "orchd_job_first_byte_seconds": JOB_BUCKETS,
        "orchd_job_hold_seconds": JOB_BUCKETS,
        "byoc_frame_latency_ms": tuple(bound * 1000 for bound in JOB_BUCKETS),
    }
    made = [Histogram(name, "-", buckets=buckets, registry=theirs) for name, buckets in names.items()]
    seconds, first_byte, hold, work = made
    metrics.define(KEY, 1)
    for work_s, first_byte_s, held_s in jobs:
        total_s = work_s + held_s
        metrics.job_finished(KEY, "ok", "", total_s, first_byte_s, held_s)
        seconds.observe(total_s)
        if first_byte_s is not None:
            first_byte.observe(first_byte_s)
        if held_s > 0:
            hold.observe(held_s)
        work.observe((total_s - held_s) * 1000)
    ours = samples(metrics)
    model = {"pipeline": KEY.pipeline, "model_id": KEY.model_id}
    for family in text_string_to_metric_families(generate_latest(theirs).decode()):
        for sample in family.samples:
            more = model | ({"source": "orchd"} if family.name.startswith("byoc") else {})
            shown = ours.get((sample.name, frozenset((sample.labels | more).items())), 0)  # 0: left out, none was seen
            assert shown == pytest.approx(sample.value)


def test_a_failed_reading_keeps_the_time_and_hash_of_the_last_good_one(metrics: Metrics) -> None:
    metrics.reloaded(True, 100.0, "00000000000a")
    metrics.reloaded(False, 200.0, "00000000000a", PROBLEMS)
    assert value(metrics, "orchd_reload_success") == 0
    assert value(metrics, "orchd_reload_timestamp_seconds") == 100.0
    assert value(metrics, "orchd_reload_hash") == 10


def test_a_defined_model_has_its_gauges_and_its_jobs_at_zero(metrics: Metrics) -> None:
    metrics.define(KEY, 1)
    assert all(value(metrics, "orchd_jobs_total", KEY, outcome=word) == 0 for word in Outcome)
    assert all(value(metrics, "orchd_runners", KEY, state=state) == 0 for state in RunnerState)
    assert all(value(metrics, "orchd_streams", KEY, phase=phase) == 0 for phase in PHASES)
    for name in ("orchd_model_ready", "orchd_model_startable", "orchd_sessions_active", "orchd_sessions_letting_go"):
        assert value(metrics, name, KEY) == 0
    assert value(metrics, "byoc_sessions_active", KEY, source="orchd") == 0
    assert all(value(metrics, "orchd_job_errors_total", NOBODY, code=code) == 0 for code in JOB_ANSWERS)
    assert all(
        value(metrics, "byoc_errors_total", NOBODY, source="orchd", type=code) == 0 for code in PROCESSING_ERRORS
    )


def test_defining_again_changes_the_limit_and_keeps_the_counts(metrics: Metrics) -> None:
    use_all(metrics)
    metrics.define(KEY, 9)
    assert value(metrics, "orchd_sessions_max", KEY) == 9
    assert value(metrics, "orchd_jobs_total", KEY, outcome="ok") == 1


def test_a_forgotten_model_leaves_no_series_and_late_news_of_it_make_none(metrics: Metrics) -> None:
    before = set(samples(metrics))
    use_all(metrics)
    metrics.registries_from(dict)
    metrics.streams_from(dict)
    metrics.sold_from(dict)
    metrics.held_over = metrics.leaving = set()
    metrics.reloaded(True, 1_700_000_100.0, "abcdef012345")
    metrics.forget(KEY)
    metrics.forget(KEY)
    metrics.state(KEY, {}, ready=False, startable=False)
    metrics.restarted(KEY, "exited")
    metrics.probed(KEY, "ready", 0.1)
    metrics.job_finished(KEY, "aborted", "", 1.0, None, 0.0)
    kept = {"orchd_runtime_up", "orchd_connections", "orchd_node_up", "orchd_node_starts_total"}
    kept |= {"orchd_callback_reached", "orchd_hook_failures_total", "orchd_hook_refusals_total"}
    kept |= {"orchd_public_answers_total", "orchd_public_certificate_left_seconds", "orchd_payments_refused_total"}
    kept |= {"orchd_public_last_client_timestamp_seconds", "orchd_public_payers"}
    of_the_chain = ("orchd_chain_", "orchd_rpc_")
    assert {name for name, _ in set(samples(metrics)) - before if not name.startswith(of_the_chain)} == kept
    assert value(metrics, "orchd_jobs_total", ModelKey("", ""), outcome="aborted") == 1


def test_a_runtime_that_is_down_alarms_only_while_it_is_needed(metrics: Metrics) -> None:
    """A host without Docker, with process models alone, has nothing that could be mended."""
    for needed in (False, True, False, False):
        metrics.runtime_up("container", False, needed)
        assert [v for (name, _), v in samples(metrics).items() if name == "orchd_runtime_up"] == [0] * needed
    metrics.runtime_up("container", True, needed=False)
    assert value(metrics, "orchd_runtime_up", runtime="container") == 1


def test_jobs_that_name_unknown_models_share_one_series(metrics: Metrics) -> None:
    before = set(samples(metrics))
    for n in range(100):
        key = ModelKey("made-up", str(n)) if n % 2 else None
        metrics.job_finished(key, "refused", Code.UNKNOWN_MODEL, 0.1, None, 0.0)
    assert set(samples(metrics)) == before
    assert value(metrics, "orchd_jobs_total", ModelKey("", ""), outcome="refused") == 100


def test_an_unknown_word_is_counted_as_other(metrics: Metrics) -> None:
    metrics.define(KEY, 1)
    metrics.restarted(KEY, "other")
    before = set(samples(metrics))
    metrics.restarted(KEY, "exec_create: sh -c 'id'")
    metrics.runtime_event("container", "exec_create: sh -c 'id'")
    assert set(samples(metrics)) == before
    assert value(metrics, "orchd_runner_restarts_total", KEY, reason="other") == 2
    assert value(metrics, "orchd_runtime_events_total", runtime="container", event="other") == 1


def test_the_words_are_those_of_the_rest_of_orchd() -> None:
    assert set(OUTCOMES) == {str(word) for word in Outcome}
    assert "other" in RESTART_REASONS
    assert "other" in RUNTIME_EVENTS
    assert set(PHASES) == set(StreamPhase) - {StreamPhase.ENDED}


class TestBesideANode:
    def test_without_a_node_nothing_is_said_of_one(self, metrics: Metrics) -> None:
        metrics.define(KEY, 1)
        names = {name for name, _ in samples(metrics) if name.startswith(("orchd_node", "orchd_registry"))}
        assert names == {"orchd_registry_errors_total"}

    def test_a_node_that_was_not_seen_yet_is_down_with_no_start(self, metrics: Metrics) -> None:
        metrics.define(KEY, 1)
        metrics.node_from(NodeStatus)
        assert value(metrics, "orchd_node_up") == 0
        assert value(metrics, "orchd_node_starts_total") == 0
        assert value(metrics, "orchd_registry_wanted", KEY, registry="byoc") is None

    def test_how_a_model_stands_is_told_for_each_registry(self, metrics: Metrics) -> None:
        use_all(metrics)
        assert value(metrics, "orchd_node_up") == 1
        assert value(metrics, "orchd_node_starts_total") == 3
        assert self.standing(metrics, KEY, "byoc") == (1, 1, 1, 1_700_000_100.0)
        assert self.standing(metrics, KEY, "live-runner") == (1, 0, None, 1_700_000_200.0)
        assert value(metrics, "orchd_registry_failing", KEY, registry="live-runner", code="node_secret") == 1
        failing = [labels for name, labels in samples(metrics) if name == "orchd_registry_failing"]
        assert len(failing) == 1

    def test_what_the_node_was_seen_not_to_offer_is_a_zero(self, metrics: Metrics) -> None:
        use_all(metrics)
        lost = Published(wanted=True, published=True, confirmed=False, since=1.0)
        metrics.registries_from(lambda: {"byoc": {KEY: lost}})
        assert self.standing(metrics, KEY, "byoc") == (1, 1, 0, 1.0)

    def test_a_model_that_no_registry_was_told_of_has_zeros_in_those_that_are_used(self, metrics: Metrics) -> None:
        metrics.define(KEY, 1)
        used, *others = registries.names()
        metrics.node_from(lambda: NodeStatus(up=True, epoch=1, registries=(used,)))
        assert self.standing(metrics, KEY, used) == (0, 0, None, None)
        for other in others:
            assert self.standing(metrics, KEY, other) == (None, None, None, None)

    def test_what_is_left_at_the_node_of_a_model_that_is_gone_is_told(self, metrics: Metrics) -> None:
        """Its withdrawal may fail for long, and an alert shall see that."""
        left = Published(wanted=False, published=True, confirmed=None, since=5.0)
        metrics.registries_from(lambda: {"byoc": {KEY: left}})
        assert self.standing(metrics, KEY, "byoc") == (0, 1, None, 5.0)

    def test_errors_are_counted_by_registry_and_code_all_there_at_zero(self, metrics: Metrics) -> None:
        errors = {key for key in samples(metrics) if key[0] == "orchd_registry_errors_total"}
        assert len(errors) == len(REGISTRIES) * len(REGISTRY_CODES)
        refused, *others = registries.names()
        for code in (Code.NODE_REFUSED, Code.NODE_REFUSED, "http://10.0.0.1/secret", Code.BAD_REQUEST):
            metrics.registry_error(refused, code)
        metrics.registry_error("http://10.0.0.1/secret", Code.NODE_SECRET)
        assert {key for key in samples(metrics) if key[0] == "orchd_registry_errors_total"} == errors
        assert value(metrics, "orchd_registry_errors_total", registry=refused, code="node_refused") == 2
        assert value(metrics, "orchd_registry_errors_total", registry=refused, code="other") == 2
        assert value(metrics, "orchd_registry_errors_total", registry="other", code="node_secret") == 1
        for other in others:
            assert value(metrics, "orchd_registry_errors_total", registry=other, code="node_secret") == 0

    def test_a_code_that_is_none_of_a_registry_is_other(self, metrics: Metrics) -> None:
        odd = Published(wanted=True, published=False, confirmed=None, since=0.0, error="cannot", code=Code.INTERNAL)
        metrics.registries_from(lambda: {"byoc": {KEY: odd}})
        assert value(metrics, "orchd_registry_failing", KEY, registry="byoc", code="other") == 1

    def test_streams_are_counted_by_phase_those_without_any_at_zero(self, metrics: Metrics) -> None:
        other = ModelKey("live/video-to-video", "idle")
        metrics.define(other, 1)
        use_all(metrics)
        of = [value(metrics, "orchd_streams", KEY, phase=phase) for phase in PHASES]
        assert dict(zip(PHASES, of, strict=True)) == {"held": 1, "starting": 0, "running": 2, "ending": 0}
        assert [value(metrics, "orchd_streams", other, phase=phase) for phase in PHASES] == [0, 0, 0, 0]

    def test_sold_sessions_are_counted_by_state_those_without_any_at_zero(self, metrics: Metrics) -> None:
        other = ModelKey("a", "b")
        metrics.define(other, 1)
        use_all(metrics)
        of = [value(metrics, "orchd_sold_sessions", KEY, state=state) for state in STATES]
        assert dict(zip(STATES, of, strict=True)) == {"pending": 1, "active": 2, "ending": 0}
        assert [value(metrics, "orchd_sold_sessions", other, state=state) for state in STATES] == [0, 0, 0]

    def standing(self, metrics: Metrics, key: ModelKey, registry: str) -> tuple[float | None, ...]:
        """Return wanted, published, confirmed, and when it changed."""
        words = ("wanted", "published", "confirmed", "changed_timestamp_seconds")
        all_of = samples(metrics)
        labels = frozenset({"pipeline": key.pipeline, "model_id": key.model_id, "registry": registry}.items())
        return tuple(all_of.get((f"orchd_registry_{word}", labels)) for word in words)


def test_process_and_build_are_told(metrics: Metrics) -> None:
    names = {name for name, _ in samples(metrics)}
    assert {"process_resident_memory_bytes", "process_open_fds", "python_info", "python_gc_collections_total"} <= names
    assert any(name == "orchd_build_info" and ("version", "1.2.3") in labels for name, labels in samples(metrics))


def test_promtool_finds_nothing_but_the_documents_own_name(metrics: Metrics, needs: Callable[[str], str]) -> None:
    use_all(metrics)
    checked = subprocess.run(
        [needs("promtool"), "check", "metrics"], input=metrics.render(), capture_output=True, timeout=60
    )
    assert checked.stderr.decode().splitlines() == [
        "byoc_frame_latency_ms metric names should not contain abbreviated units"
    ]


@pytest.mark.parametrize(
    ("wanted", "published", "confirmed", "sessions", "up", "alerts"),
    [
        (1, 1, 1, 0, 1, set()),
        (1, 1, None, 0, 1, set()),
        (0, 0, None, 0, 1, set()),
        (1, 0, None, 0, 1, {"OrchdNotPublished"}),
        (1, 1, 0, 0, 1, {"OrchdNotConfirmed"}),
        (0, 1, None, 0, 1, {"OrchdNotWithdrawn"}),
        (0, 0, 1, 0, 1, {"OrchdNotWithdrawn"}),
        (0, 1, None, 2, 1, set()),
        (1, 0, None, 0, 0, {"OrchdNodeDown"}),
        (1, 1, 0, 0, 0, {"OrchdNodeDown"}),
        (0, 1, None, 0, 0, {"OrchdNodeDown"}),
        (None, None, None, 0, None, set()),
    ],
)
def test_alerts_tell_what_is_wrong_between_orchd_and_the_node(
    wanted: int | None,
    published: int | None,
    confirmed: int | None,
    sessions: int,
    up: int | None,
    alerts: set[str],
    needs: Callable[[str], str],
    tmp_path: Path,
) -> None:
    """Once, where it is: a node that is down is not told for each model, nor is a model that drains."""
    model = 'instance="i",pipeline="p",model_id="m"'
    series = {
        f'orchd_registry_wanted{{{model},registry="byoc"}}': wanted,
        f'orchd_registry_published{{{model},registry="byoc"}}': published,
        f'orchd_registry_confirmed{{{model},registry="byoc"}}': confirmed,
        f"orchd_sessions_active{{{model}}}": sessions,
        'orchd_node_up{instance="i"}': up,
        'up{instance="i",job="orchd"}': 1,
    }
    test = {
        "interval": "1m",
        "input_series": [
            {"series": name, "values": f"{number}x30"} for name, number in series.items() if number is not None
        ],
        "promql_expr_test": [
            {
                "expr": "count by (alertname) (ALERTS{alertstate='firing'})",
                "eval_time": "20m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)],
            }
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(DEPLOY / "alerts.yml")], "tests": [test]}))
    checked = subprocess.run([needs("promtool"), "test", "rules", file], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("late", "open_fds", "alerts"),
    [
        ("0+0x30", 10, set()),
        ("0+1x30", 10, {"OrchdLoopLags"}),
        ("0+0x10 1 1x20", 10, set()),
        ("0+0x30", 950, {"OrchdDescriptorsLow"}),
    ],
)
def test_alerts_tell_when_orchd_itself_can_not_keep_up(
    late: str, open_fds: int, alerts: set[str], needs: Callable[[str], str], tmp_path: Path
) -> None:
    """Args:
    late: ticks of the loop that came over 0.25 s late, by the minute; the others were in time.
    """
    metrics = Metrics(MetricsRegistry(), "1.2.3")
    metrics.loop_lag(0.001)
    assert 'orchd_loop_lag_seconds_bucket{le="0.25"} 1.0' in metrics.render().decode(), "the bucket that the rule reads"
    series = {
        'orchd_loop_lag_seconds_bucket{instance="i",job="orchd",le="0.25"}': "0+0x40",
        'orchd_loop_lag_seconds_count{instance="i",job="orchd"}': late,
        'process_open_fds{instance="i",job="orchd"}': f"{open_fds}x40",
        'process_max_fds{instance="i",job="orchd"}': "1000x40",
        'up{instance="i",job="orchd"}': "1x40",
    }
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": "count by (alertname) (ALERTS{alertstate='firing'})",
                "eval_time": "20m",
                "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(alerts)],
            }
        ],
    }
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(DEPLOY / "alerts.yml")], "tests": [test]}))
    checked = subprocess.run([needs("promtool"), "test", "rules", file], capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
async def test_a_real_prometheus_scrapes_them(metrics: Metrics, needs: Callable[[str], str], tmp_path: Path) -> None:
    """With the scrape example that we ship, aimed at this test's port."""
    use_all(metrics)
    admin = AdminServer(
        AdminSettings(listen="127.0.0.1:0"), snapshot=fresh(Snapshot), metrics=metrics.registry, accepting=lambda: True
    )
    await admin.start()
    try:
        async with Prometheus(needs("prometheus"), tmp_path, target=f"127.0.0.1:{admin.port}") as prometheus:
            assert await prometheus.until('up{job="orchd"} == 1') != []
            [build] = await prometheus.until("orchd_build_info")
            assert build["metric"]["version"] == "1.2.3"
            [jobs] = await prometheus.until('orchd_jobs_total{outcome="ok",pipeline="text-to-image"}')
            assert (jobs["metric"]["model_id"], jobs["value"][1]) == (KEY.model_id, "1")
    finally:
        await admin.close()


def test_an_answer_of_500_to_599_is_the_models_error_and_others_are_not(metrics: Metrics) -> None:
    metrics.define(KEY, 3)
    assert metrics.runner_errors(KEY) is None
    for status in (101, 200, 204, 302, 404, 429, 499, 600, 999):
        metrics.job_finished(KEY, "ok", "", 0.1, 0.1, 0.0, status)
    for status in (500, 503, 599):
        metrics.job_finished(KEY, "runner_error", "", 0.1, 0.1, 0.0, status)
    metrics.job_finished(KEY, "refused", Code.NOT_READY, 0.1, None, 0.0)
    metrics.job_finished(KEY, "backend_failed", Code.BACKEND_BROKE, 0.1, 0.1, 0.0, 200)
    counts = {name: value(metrics, "orchd_runner_answers_total", KEY, **{"class": name}) for name in STATUS_CLASSES}
    assert counts == {"1xx": 1, "2xx": 3, "3xx": 1, "4xx": 3, "5xx": 3, "other": 2}
    assert value(metrics, "byoc_errors_total", KEY, source="orchd", type="runner_error") == 3
    assert value(metrics, "byoc_errors_total", KEY, source="orchd", type="backend_broke") == 1
    assert value(metrics, "orchd_jobs_total", KEY, outcome="runner_error") == 3
    assert value(metrics, "byoc_frame_latency_ms_count", KEY, source="orchd") == 9, "of jobs that succeeded"
    errors = metrics.runner_errors(KEY)
    assert errors is not None
    assert (errors.count, errors.last_status) == (3, 599)
    assert errors.last_at > 1.7e9
