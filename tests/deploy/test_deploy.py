"""What lies in `deploy/` is accepted by the programs that it is for."""

from __future__ import annotations

import configparser
import json
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.model import StopSpec
from orchd.errors import Code
from orchd.exposition import MetricsRegistry
from orchd.settings.tree import Settings
from tests.collectors import Metrics

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "orchd.service").read_text()
SOCKET = (DEPLOY / "orchd.socket").read_text()


class Unit(configparser.RawConfigParser):
    """The unit's sections; a key that is given twice keeps its last value."""

    def __init__(self, text: str = UNIT) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",))
        self.read_string(text)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


@pytest.mark.parametrize("unit", ["orchd.service", "orchd.socket"])
def test_systemd_accepts_the_units(needs: Callable[[str], str], tmp_path: Path, unit: str) -> None:
    assert "ExecStart=/usr/local/bin/orchd run\n" in UNIT
    (tmp_path / "orchd.service").write_text(UNIT.replace("/usr/local/bin/orchd", "/bin/true"))
    options = [re.sub("^#(?=[A-Z]\\w+=)", "", line) for line in SOCKET.splitlines(keepends=True)]
    assert options != SOCKET.splitlines(keepends=True), "what is offered in comments is looked at too"
    (tmp_path / "orchd.socket").write_text("".join(options))
    verified = subprocess.run(
        [needs("systemd-analyze"), "verify", "--man=no", tmp_path / unit], capture_output=True, text=True, timeout=60
    )
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


def test_the_socket_unit_listens_where_orchd_does_by_itself_and_its_socket_files_outlive_it() -> None:
    assert (Unit(SOCKET)["Socket"]["ListenStream"],) == Settings().jobs.listen
    paths = re.findall("^#?ListenStream=(/.*)$", SOCKET, re.MULTILINE)
    gone_with_orchd = f"/run/{Unit()['Service']['RuntimeDirectory']}/"
    assert paths
    assert [path for path in paths if path.startswith(gone_with_orchd)] == []


def test_systemd_waits_longer_than_orchd_drains_and_stops() -> None:
    settings = Settings()
    longest = settings.shutdown_drain_s + settings.reconcile.drain_timeout_s + StopSpec().grace_s
    assert float(Unit()["Service"]["TimeoutStopSec"]) > longest + 10


def test_the_unit_does_what_the_daemon_counts_on() -> None:
    service = Unit()["Service"]
    assert (service["Type"], service["NotifyAccess"], service["KillMode"]) == ("notify", "main", "mixed")
    assert float(service["WatchdogSec"]) > 0
    assert (service["StateDirectory"], service["StateDirectoryMode"]) == ("orchd", "0700")
    assert int(service["RestartSec"]) * 5 > 10, "five starts within systemd's 10 s would end it for good"
    assert service["LimitNOFILE"] == "1024:1048576"  # orchd raises its own, and its runners get the usual one


def test_the_unit_keeps_orchd_running_unless_it_was_told_to_end() -> None:
    """`orchd down` and a plain kill end it with 0; systemctl stop is never followed by a restart anyway."""
    service = Unit()["Service"]
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("always", "0")
    assert service["OOMPolicy"] == "continue", "one runner without memory must not end the others"
    assert service["ExecReload"] == '/bin/sh -c "kill -HUP $MAINPID"', "a bare Debian has no /bin/kill"


def test_caches_of_runners_lie_where_the_unit_lets_them_write() -> None:
    """Homes are read-only under it, and the user may have none."""
    service = Unit()["Service"]
    assert f"\nEnvironment=HOME=/var/lib/{service['StateDirectory']}\n" in UNIT
    assert (service["ProtectSystem"], service["ProtectHome"]) == ("strict", "read-only")


def test_prometheus_accepts_the_scrape_example_and_the_alerts(needs: Callable[[str], str]) -> None:
    checked = subprocess.run(
        [needs("promtool"), "check", "config", DEPLOY / "prometheus.yml"], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_scrape_example_aims_at_the_default_address() -> None:
    assert f'"{Settings().admin.listen}"' in (DEPLOY / "prometheus.yml").read_text()


def test_alerts_name_only_metrics_that_there_are() -> None:
    metrics = Metrics(MetricsRegistry(), "1")
    named = set(re.findall(r"\b(?:orchd|byoc)_\w+", (DEPLOY / "alerts.yml").read_text()))
    kinds = re.findall(r"^# TYPE (\S+) (\S+)", metrics.render().decode(), re.MULTILINE)
    known = {name for name, _ in kinds}
    known |= {f"{name}_{part}" for name, kind in kinds if kind == "histogram" for part in ("bucket", "count", "sum")}
    assert named
    assert named - known == set()


def rules_test(metrics: Metrics, happens: Callable[[], None], alert: str, model: ModelKey) -> str:
    """Return a test for promtool: `happens` once a minute, as orchd counts it, and then the alert fires."""
    series: dict[str, list[str]] = {}
    minutes = 16
    for minute in range(minutes):
        for line in metrics.render().decode().splitlines():
            if line.startswith(("orchd_jobs_total", "byoc_errors_total")):
                name, _, value = line.rpartition(" ")
                labels = name.replace("{", '{job="orchd",instance="here",')
                series.setdefault(labels, ["_"] * minute).append(value)
        happens()
    shown = {"instance": "here", "pipeline": model.pipeline, "model_id": model.model_id, "severity": "critical"}
    told = {
        "summary": f"More than 5 % of the jobs of {model} fail.",
        "description": "The model answers with 5xx, breaks off, or does not answer in time.",
        "runbook_url": "docs/how-to/alerts.md#orchdjobsfail",
    }
    return json.dumps(
        {
            "rule_files": [str(DEPLOY / "alerts.yml")],
            "evaluation_interval": "1m",
            "tests": [
                {
                    "interval": "1m",
                    "input_series": [{"series": name, "values": " ".join(values)} for name, values in series.items()],
                    "alert_rule_test": [
                        {
                            "eval_time": f"{minutes - 1}m",
                            "alertname": alert,
                            "exp_alerts": [{"exp_labels": shown, "exp_annotations": told}],
                        }
                    ],
                }
            ],
        }
    )


@pytest.mark.parametrize("outcome", ["runner_error", "backend_failed", "timeout", "error"])
def test_a_model_that_fails_its_jobs_sets_off_the_alert_however_it_fails(
    outcome: str, needs: Callable[[str], str], tmp_path: Path
) -> None:
    """Its own word (HTTP 500 to 599) counts as much as a connection that broke."""
    promtool, model = needs("promtool"), ModelKey("llm", "org/broken")
    codes = {
        "runner_error": "",
        "backend_failed": Code.BACKEND_BROKE,
        "timeout": Code.BACKEND_TIMEOUT,
        "error": Code.INTERNAL,
    }
    metrics = Metrics(MetricsRegistry(), "1")
    metrics.define(model, 1)

    def a_minute() -> None:
        for _ in range(9):
            metrics.job_finished(model, "ok", "", 0.1, 0.1, 0.0, 404)
        metrics.job_finished(model, outcome, codes[outcome], 0.1, 0.1, 0.0, 500 if outcome == "runner_error" else 0)

    (tmp_path / "test.yml").write_text(rules_test(metrics, a_minute, "OrchdJobsFail", model))
    tested = subprocess.run(
        [promtool, "test", "rules", tmp_path / "test.yml"], capture_output=True, text=True, timeout=60
    )
    assert tested.returncode == 0, tested.stdout + tested.stderr


def scraped(
    metrics: Metrics, minutes: int, happens: Mapping[int, Callable[[], None]], drop_zero: str = ""
) -> list[str]:
    """Return what Prometheus would have stored, a sample each minute, as series for promtool.

    Args:
        happens: by the minute before whose scrape it happens.
        drop_zero: names that begin so lose their first zero: as if they had appeared with their first event.
    """
    series: dict[str, list[str]] = {}
    for minute in range(minutes):
        happens.get(minute, lambda: None)()
        for line in metrics.render().decode().splitlines():
            if line.startswith(("orchd_job", "orchd_runner_restarts", "byoc_errors")):
                name, _, value = line.rpartition(" ")
                labels = name.replace("{", '{job="orchd",instance="here",')
                values = series.setdefault(labels, ["_"] * minute)
                gone = drop_zero and name.startswith(drop_zero) and float(value) == 0 and set(values) <= {"_"}
                values.append("_" if gone else value)
    return [json.dumps({"series": name, "values": " ".join(values)}) for name, values in series.items()]


BURSTS = {
    "OrchdRunnersStall": ("orchd_job_errors_total", 4),
    "OrchdRunnerRestarts": ("orchd_runner_restarts_total", 4),
    "OrchdConnectionsRefused": ("orchd_job_errors_total", 1),
}
"""By alert: the counter that it reads, and how many events between two scrapes, the first ever, must set it off."""


@pytest.mark.parametrize(
    ("alert", "seen_at_zero"),
    # What is about no model is at zero from the start.
    [*((alert, True) for alert in BURSTS), ("OrchdRunnersStall", False), ("OrchdRunnerRestarts", False)],
)
def test_an_alert_sees_the_first_events_of_a_counter_since_it_is_shown_at_zero_before_them(
    alert: str, seen_at_zero: bool, needs: Callable[[str], str], tmp_path: Path
) -> None:
    """The other way round, where the counter appears with its events, `increase()` is blind to them."""
    metrics, model = Metrics(MetricsRegistry(), "1"), ModelKey("llm", "org/m")
    counter, count = BURSTS[alert]
    metrics.define(model, 1)

    def burst() -> None:
        for _ in range(count):
            match alert:
                case "OrchdRunnersStall":
                    metrics.job_finished(model, "timeout", Code.BACKEND_STALLED, 0.1, None, 0.0)
                case "OrchdRunnerRestarts":
                    metrics.restarted(model, "exited")
                case _:
                    metrics.request_refused(Code.TOO_MANY_CONNECTIONS)

    series = scraped(metrics, 20, {12: burst}, "" if seen_at_zero else counter)
    expected = [{"labels": f'{{alertname="{alert}"}}', "value": 1}] if seen_at_zero else []
    test = {
        "interval": "1m",
        "input_series": [json.loads(one) for one in series],
        "promql_expr_test": [
            {
                "expr": f'count by (alertname) (ALERTS{{alertstate="firing",alertname="{alert}"}})',
                "eval_time": "15m",
                "exp_samples": expected,
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(json.dumps({"rule_files": [str(DEPLOY / "alerts.yml")], "tests": [test]}))
    tested = subprocess.run([needs("promtool"), "test", "rules", file], capture_output=True, text=True, timeout=60)
    assert tested.returncode == 0, tested.stdout + tested.stderr
