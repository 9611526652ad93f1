"""Each alert fires when it should, keeps quiet else, and resolves; and a page says what to do about it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "alerts.yml"
RULES: dict[str, dict[str, str]] = {
    name: dict(re.findall(r'^ +(severity|summary|description|runbook_url): "?(.*?)"?$', text, re.MULTILINE))
    for name, text in re.findall(
        r"^ +- alert: (\w+)\n(.*?)(?=^ +- alert: |\Z)",
        re.sub(r"labels: {severity: (\w+)}", r"severity: \1", FILE.read_text()),
        re.MULTILINE | re.DOTALL,
    )
}
"""What each alert says of itself."""
PAGE = ROOT / "docs" / "how-to" / "alerts.md"
SECTIONS: dict[str, str] = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.MULTILINE | re.DOTALL))
HOST = 'job="orchd",instance="i"'
MODEL = f'{HOST},pipeline="p",model_id="m"'
OFFER = f'{MODEL},registry="byoc"'
COMMANDS = ("orchd status", "orchd logs", "orchd events", "orchd tickets")


@dataclass(frozen=True)
class Case:
    """Some series, and when the alert fires on them.

    Attributes:
        series: values a minute apart, as promtool has them (`0x5` is six zeros, `0+1x5` counts up, `stale` ends it).
        fires, quiet: minutes at which it does, and does not.
    """

    what: str
    series: Mapping[str, str]
    fires: Sequence[int] = ()
    quiet: Sequence[int] = ()


def failed(code: str, values: str, labels: str = MODEL) -> dict[str, str]:
    return {f'orchd_job_errors_total{{{labels},code="{code}"}}': values}


def refused(reason: str, values: str) -> dict[str, str]:
    return {f'orchd_payments_refused_total{{{HOST},reason="{reason}"}}': values}


def payments(result: str, values: str) -> dict[str, str]:
    return {f'orchd_payments_total{{{HOST},scheme="byoc",result="{result}"}}': values}


def model(**series: str) -> dict[str, str]:
    return {f"orchd_{name}{{{MODEL}}}": values for name, values in series.items()}


def host(**series: str) -> dict[str, str]:
    return {f"orchd_{name}{{{HOST}}}": values for name, values in series.items()}


def offer(**series: str) -> dict[str, str]:
    return {f"orchd_registry_{name}{{{OFFER}}}": values for name, values in series.items()}


def reached(by: str, values: str) -> dict[str, str]:
    return {f'orchd_callback_reached{{{HOST},by="{by}"}}': values}


def rpc(server: str, values: str) -> dict[str, str]:
    return {f'orchd_rpc_up{{{HOST},server="{server}"}}': values}


NODE_IS_UP = host(node_up="1x90")
CHAIN_IS_ON = host(chain_payers="1x130")
JOBS = {f'orchd_jobs_total{{{MODEL},outcome="ok"}}': "0+10x90"}
START, FDS, MOST = (f"process_{name}{{{HOST}}}" for name in ("start_time_seconds", "open_fds", "max_fds"))
LAG = f"orchd_loop_lag_seconds_count{{{HOST}}}"
LAG_QUICK = f'orchd_loop_lag_seconds_bucket{{{HOST},le="0.25"}}'
UP = f"up{{{HOST}}}"
RESTARTS = f"orchd_runner_restarts_total{{{MODEL},reason="
FAILED = f'orchd_runners{{{MODEL},state="failed"}}'
MODEL_ERRORS = f'byoc_errors_total{{{MODEL},source="orchd",type="runner_error"}}'
NAMELESS = f'orchd_entry_errors{{{HOST},pipeline="",model_id=""}}'

CASES: dict[str, list[Case]] = {
    "OrchdDown": [
        Case("it is down, and comes back", {UP: "1x5 0x10 1x20"}, [10, 16], [5, 7, 20]),
        Case("one scrape is missed", {UP: "1x5 0 1x20"}, quiet=[6, 7, 8, 9]),
        Case("a restart takes a minute", {UP: "1x5 0 0 1x20"}, quiet=[6, 7, 8, 9]),
    ],
    "OrchdNotScraped": [
        Case("there is no such target", {'up{job="node",instance="i"}': "1x60"}, [15, 50], [5]),
        Case("it is configured at last", {UP: "_x20 1x20"}, [15], [30]),
        Case("it is down, which is another alert", {UP: "0x60"}, quiet=[15, 50]),
    ],
    "OrchdRestarts": [
        Case("it crashes again and again", {START: "100x9 200x3 300x3 400x70"}, [20, 35], [12, 60]),
        Case("it is upgraded, and back again", {START: "100x9 200x3 300x70"}, quiet=[15, 30, 60]),
    ],
    "OrchdLoopLags": [
        Case("it stalls once a minute", {LAG: "0x9 1+1x10 11x40", LAG_QUICK: "0x90"}, [18], [5, 40]),
        Case("it stalls once", {LAG: "0x9 1x40", LAG_QUICK: "0x90"}, quiet=[12, 30]),
        Case("it is restarted", {LAG: "900x9 5x40", LAG_QUICK: "900x9 5x40"}, quiet=[11, 15, 30]),
    ],
    "OrchdDescriptorsLow": [
        Case("they run out", {FDS: "10x5 950x10 10x40", MOST: "1000x90"}, [10, 18], [5, 30]),
        Case("they do not", {FDS: "890x60", MOST: "1000x90"}, quiet=[30]),
    ],
    "OrchdRuntimeDown": [
        Case("Docker is away", {f'orchd_runtime_up{{{HOST},runtime="container"}}': "1x5 0x10 1x40"}, [10], [5, 30]),
        Case("Docker restarts", {f'orchd_runtime_up{{{HOST},runtime="container"}}': "1x5 0 1x40"}, quiet=[7, 8, 30]),
    ],
    "OrchdModelsFileBad": [
        Case("the file is refused", host(reload_success="1x5 0x20 1x40"), [15], [5, 40]),
        Case("an entry says no model", {NAMELESS: "1x20 stale", **host(reload_success="1x90")}, [15], [40]),
        Case(
            "a model's entry is bad: another alert", model(entry_errors="1x60") | host(reload_success="1x90"), (), [30]
        ),
    ],
    "OrchdModelHeldOver": [
        Case("its entry is bad", model(model_held_over="1x20 stale") | host(reload_success="1x90"), [15], [5, 40]),
        Case(
            "the whole file is: another alert",
            model(model_held_over="1x60") | host(reload_success="0x90"),
            (),
            [30, 50],
        ),
    ],
    "OrchdModelGone": [
        Case("a new entry is bad", model(entry_errors="1x20 stale"), [15], [3, 40]),
        Case("the former definition serves", model(entry_errors="1x60", sessions_max="4x90"), quiet=[30]),
    ],
    "OrchdNoModels": [
        Case(
            "the file is emptied, and put back",
            model(sessions_max="4x10 stale _x20 4x40") | host(reload_success="1x90"),
            *([20, 30], [10, 13, 50]),
        ),
        Case("no file has ever applied", host(reload_success="0x20 1x60"), [15], [3, 40]),
        Case("orchd is new, and its file is empty on purpose", host(reload_success="1x90"), quiet=[15, 60]),
        Case(
            "the file is refused, and its models serve on",
            model(sessions_max="4x90") | host(reload_success="0x90"),
            (),
            [30],
        ),
        Case(
            "scrapes are missed",
            model(sessions_max="4x10 stale _x15 4x40") | host(reload_success="1x10 stale _x15 1x40"),
            *((), [12, 18, 25, 40]),
        ),
        Case(
            "orchd restarts, and shows no model for two minutes",
            model(sessions_max="4x10 stale _x2 4x40") | host(reload_success="1x10 stale 1x60"),
            *((), [12, 14, 20, 40]),
        ),
    ],
    "OrchdNotConverged": [
        Case(
            "an edit is never carried out", model(model_ready="1x90") | host(converged="1x5 0x50 1x40"), [45], [30, 70]
        ),
        Case("an edit takes 20 minutes", model(model_ready="1x90") | host(converged="1x5 0x20 1x60"), quiet=[20, 40]),
        Case(
            "a model can't serve: another alert",
            model(model_ready="0x90", model_startable="0x90") | host(converged="0x90"),
            *((), [45, 80]),
        ),
    ],
    "OrchdModelNotReady": [
        Case("it is down", model(model_ready="1x5 0x30 1x40", model_startable="0x90"), [20, 38], [5, 12, 50]),
        Case("it is cold", model(model_ready="0x90", model_startable="1x90"), quiet=[30]),
        Case("it leaves", model(model_ready="0x90", model_startable="0x90", model_leaving="1x90"), quiet=[30]),
        Case("it loads for 8 minutes", model(model_ready="1x5 0x7 1x40", model_startable="0x90"), quiet=[10, 14, 17]),
        Case("an operator has stopped it", model(model_ready="0x5 stale", sessions_max="4x90"), quiet=[12, 30]),
        Case(
            "a scrape is missed meanwhile",
            model(model_ready="0x20 stale 0x40", model_startable="0x20 stale 0x40"),
            *([15, 21, 22, 25, 40], ()),
        ),
    ],
    "OrchdReplicaFailed": [
        Case("one of two is given up", model(model_ready="1x90") | {FAILED: "1x30 0x40"}, [15], [5, 50]),
        Case(
            "all are: another alert", model(model_ready="0x90", model_startable="0x90") | {FAILED: "1x90"}, quiet=[30]
        ),
    ],
    "OrchdRunnerRestarts": [
        Case("it crashes", {f'{RESTARTS}"exited"}}': "0x5 2 4x60"}, [10], [5, 40]),
        Case("an operator restarts it", {f'{RESTARTS}"operator"}}': "0x5 2 9x60"}, quiet=[10, 40]),
        Case("it crashes once", {f'{RESTARTS}"exited"}}': "0x5 1x60"}, quiet=[10, 40]),
    ],
    "OrchdRunnersStall": [
        Case("they do", failed("backend_stalled", "0x5 2 4 5x60"), [10], [5, 40]),
        Case("one does", failed("backend_stalled", "0x5 1x60"), quiet=[10, 40]),
    ],
    "OrchdJobsFail": [
        Case("a tenth fails", {MODEL_ERRORS: "0+1x30 30x60", **JOBS}, [20], [5, 60]),
        Case("one fails", {MODEL_ERRORS: "0x5 1x60", **JOBS}, quiet=[10, 20]),
    ],
    "OrchdCapacityRefused": [
        Case("a tenth is refused", failed("capacity_exhausted", "0+1x40 40x60") | JOBS, [35], [10, 75]),
        Case("cold starts take too long", failed("hold_timeout", "0+1x40 40x60") | JOBS, [35], [10, 75]),
        Case("a burst is refused", failed("capacity_exhausted", "0x5 1+2x5 11x60") | JOBS, quiet=[15, 25, 40]),
        Case("one in a hundred is", failed("capacity_exhausted", "0 0x8 1 1x8 2 2x8 3x60") | JOBS, quiet=[15, 40]),
    ],
    "OrchdHooksFail": [
        Case("a hook hangs", failed("hook_failed", "0+1x20 20x60"), [15], [3, 50]),
        Case("a hook fails once", failed("hook_failed", "0x5 1x60"), quiet=[8, 12, 20]),
    ],
    "OrchdLedgerFails": [
        Case("the disk is full", host(ledger_failures_total="0+12x20 240x60"), [15], [3, 50]),
        Case("one payment could not be kept", host(ledger_failures_total="0x5 1x60"), quiet=[8, 12, 20]),
    ],
    "OrchdPaymentsImpossible": [
        Case("no RPC server answers", refused("chain_unknown", "0+3x20 60x60"), [15], [3, 50]),
        Case("payers send bad tickets", refused("nonce_seen", "0+30x90"), quiet=[15, 50]),
    ],
    "OrchdPaymentsRefused": [
        Case("most are", payments("refused", "0+5x40 200x90") | payments("taken", "0+2x130"), [30], [5, 120]),
        Case("some are", payments("refused", "0+2x90") | payments("taken", "0+5x90"), quiet=[30, 60]),
        Case("a few are, and none comes else", payments("refused", "0 0 1 3x90") | payments("taken", "0x90"), (), [30]),
    ],
    "OrchdTicketsExpireSoon": [
        Case("nobody exports them", host(tickets_rounds_left="2x10 1x600 _x60"), [500, 610], [10, 480, 620]),
        Case("they are exported in time", host(tickets_rounds_left="2x10 1x400 2x300"), quiet=[300, 420, 700]),
    ],
    "OrchdTicketsExpire": [
        Case("they do", model(tickets_expired_eth_total="0x5 0.01x120"), [10, 40], [3, 90]),
        Case("they are redeemed", model(tickets_expired_eth_total="0.5x90", tickets_owed_eth="1x90"), quiet=[30]),
    ],
    "OrchdJobsForbidden": [
        Case("the node's secret is another one", failed("forbidden", "0+6x30 180x60") | JOBS, [20], [5, 70]),
        Case("a hook refuses every ticket", failed("hook_refused", "0+10x30 300x60") | JOBS, [20], [5, 70]),
        Case("some are turned away", failed("forbidden", "0+3x90") | JOBS, quiet=[20, 60]),
    ],
    "OrchdConnectionsRefused": [
        Case("some are", failed("too_many_connections", "0x5 1x60"), [7], [4, 20]),
        Case("none is", failed("too_many_connections", "0x90"), quiet=[30]),
    ],
    "OrchdRequestsMalformed": [
        Case("many are", failed("bad_request", "0+120x30 3600x60", f'{HOST},pipeline=""'), [20], [5, 60]),
        Case("some are", failed("bad_request", "0+30x90", f'{HOST},pipeline=""'), quiet=[30]),
    ],
    "OrchdCertificateExpires": [
        Case(
            "nobody renews it in time", host(public_certificate_left_seconds="1209610-60x20 7776000x60"), [15], [5, 40]
        ),
        Case("it is renewed in time", host(public_certificate_left_seconds="1215000-60x80 7776000x60"), quiet=[30, 79]),
    ],
    "OrchdChainNotRead": [
        Case("no server answers any more", host(chain_age_seconds="5x5 10+60x20 5x60"), [12], [5, 40]),
        Case(
            "none has answered since the start", host(chain_payers="0x20", chain_age_seconds="_x20 5x60"), [5], [1, 40]
        ),
        Case("a server fails, and the next one answers", host(chain_age_seconds="5x90", chain_payers="1x90"), (), [30]),
        Case("no chain is read", host(converged="1x90"), quiet=[30]),
    ],
    "OrchdRpcServerDown": [
        Case("one of two", rpc("a", "1x5 0x60 1x60") | rpc("b", "1x130") | CHAIN_IS_ON, [45], [20, 90]),
        Case("both: another alert", rpc("a", "0x90") | rpc("b", "0x90") | CHAIN_IS_ON, quiet=[60]),
        Case("the rate alone is read", rpc("a", "0x90") | rpc("b", "1x90"), quiet=[60]),
    ],
    "OrchdNotActive": [
        Case("it drops out", host(chain_active="1x5 0x20 1x60"), [15], [5, 9, 40]),
        Case("it is active", host(chain_active="1x90"), quiet=[30]),
    ],
    "OrchdNodeDown": [
        Case("it is down", host(node_up="1x5 0x10 1x40"), [10], [5, 30]),
        Case("orchd has none", host(converged="1x90"), quiet=[30]),
    ],
    "OrchdNoJobArrives": [
        Case("a grant is missing", reached("node", "0x20 1x60") | NODE_IS_UP, [10], [1, 40]),
        Case("only orchd itself is not reached", reached("orchd", "0x90") | NODE_IS_UP, quiet=[30]),
        Case("the node is down: another alert", reached("node", "0x90") | host(node_up="0x90"), (), [30]),
    ],
    "OrchdNodeRestarts": [
        Case("it crashes", host(node_starts_total="1x5 3 5 6x60"), [10], [5, 40]),
        Case("it is restarted, and orchd too", host(node_starts_total="1x5 2 1x60"), quiet=[10, 40]),
    ],
    "OrchdNotPublished": [
        Case("it is refused", offer(wanted="1x90", published="0x20 1x60") | NODE_IS_UP, [10], [1, 40]),
        Case("it is on offer", offer(wanted="1x90", published="1x90") | NODE_IS_UP, quiet=[30]),
        Case(
            "the node is down: another alert", offer(wanted="1x90", published="0x90") | host(node_up="0x90"), (), [30]
        ),
    ],
    "OrchdNotConfirmed": [
        Case(
            "the node lost it",
            offer(wanted="1x90", published="1x90", confirmed="0x20 1x60") | NODE_IS_UP,
            *([10], [1, 40]),
        ),
        Case("it can't be seen", offer(wanted="1x90", published="1x90") | NODE_IS_UP, quiet=[30]),
    ],
    "OrchdNotWithdrawn": [
        Case("it is still on offer", offer(wanted="0x90", published="1x20 0x60") | NODE_IS_UP, [10], [1, 40]),
        Case(
            "its sessions end",
            offer(wanted="0x90", published="1x90") | model(sessions_active="2x90") | NODE_IS_UP,
            quiet=[30],
        ),
    ],
}


@pytest.mark.parametrize("alert", RULES)
def test_it_fires_when_it_should_keeps_quiet_else_and_resolves(
    alert: str, needs: Callable[[str], str], tmp_path: Path
) -> None:
    cases = CASES[alert]
    assert any(case.fires and max(case.quiet, default=0) > max(case.fires) for case in cases), "it resolves"
    assert any(not case.fires for case in cases), "it keeps quiet where nothing is wrong, or something else"
    tests = [
        {
            "name": case.what,
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
            "promql_expr_test": [
                {
                    "expr": f'count by (alertname) (ALERTS{{alertstate="firing",alertname="{alert}"}})',
                    "eval_time": f"{minute}m",
                    "exp_samples": [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if fires else [],
                }
                for fires, minutes in ((True, case.fires), (False, case.quiet))
                for minute in minutes
            ],
        }
        for case in cases
    ]
    file = tmp_path / "tests.yml"
    file.write_text(json.dumps({"rule_files": [str(FILE)], "evaluation_interval": "1m", "tests": tests}))
    done = subprocess.run([needs("promtool"), "test", "rules", file], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_series_of_the_cases_are_those_that_orchd_has() -> None:
    metrics = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    known = {
        f"{name}{end}"
        for name in re.findall(r"^\| `(\w+)` \|", metrics, re.MULTILINE)
        for end in ("", "_count", "_bucket")
    }
    named = {name.partition("{")[0] for cases in CASES.values() for case in cases for name in case.series}
    assert {name for name in named if not name.startswith(("up", "process_"))} <= known


def test_no_case_is_of_an_alert_that_is_gone() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("alert", RULES)
def test_it_says_how_grave_it_is_what_is_wrong_and_where_the_way_out_is_told(alert: str) -> None:
    rule = RULES[alert]
    assert set(rule) == {"severity", "summary", "description", "runbook_url"}
    assert f"| `{rule['severity']}` |" in PAGE.read_text(), "the page says what the word means"
    assert rule["summary"].endswith(".")
    assert rule["description"].endswith(".")
    page, _, heading = rule["runbook_url"].partition("#")
    assert (ROOT / page, heading) == (PAGE, alert.lower())
    assert alert in SECTIONS


def test_what_a_stranger_without_a_token_can_set_off_alone_wakes_nobody() -> None:
    assert {RULES[name]["severity"] for name in ("OrchdJobsForbidden", "OrchdRequestsMalformed")} == {"warning"}


def test_every_section_is_of_an_alert_and_names_a_command_that_helps() -> None:
    assert {title for title in SECTIONS if title.startswith("Orchd")} == set(RULES)
    assert [title for title in RULES if not any(command in SECTIONS[title] for command in COMMANDS)] == []
