"""What lies in `deploy/` is accepted by the programs that it is for."""

from __future__ import annotations

import configparser
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from orchd.domain.model import StopSpec
from orchd.metrics import Metrics
from orchd.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
UNIT = (DEPLOY / "orchd.service").read_text()


class Unit(configparser.RawConfigParser):
    """The unit's sections; a key that is given twice keeps its last value."""

    def __init__(self) -> None:
        super().__init__(strict=False, delimiters=("=",), comment_prefixes=("#",))
        self.read_string(UNIT)

    def optionxform(self, optionstr: str) -> str:
        return optionstr


def test_systemd_accepts_the_unit(needs: Callable[[str], str], tmp_path: Path) -> None:
    copy = tmp_path / "orchd.service"
    assert "ExecStart=/usr/local/bin/orchd run\n" in UNIT
    copy.write_text(UNIT.replace("/usr/local/bin/orchd", "/bin/true"))
    verified = subprocess.run(
        [needs("systemd-analyze"), "verify", "--man=no", copy], capture_output=True, text=True, timeout=60
    )
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


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
    assert int(service["LimitNOFILE"]) == 1048576


def test_prometheus_accepts_the_scrape_example_and_the_alerts(needs: Callable[[str], str]) -> None:
    checked = subprocess.run(
        [needs("promtool"), "check", "config", DEPLOY / "prometheus.yml"], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_scrape_example_aims_at_the_default_address() -> None:
    assert f'"{Settings().admin.listen}"' in (DEPLOY / "prometheus.yml").read_text()


def test_alerts_name_only_metrics_that_there_are() -> None:
    metrics = Metrics(CollectorRegistry(), "1")
    named = set(re.findall(r"\b(?:orchd|byoc)_\w+", (DEPLOY / "alerts.yml").read_text()))
    known = set(re.findall(r"^# HELP (\S+)", metrics.render().decode(), re.MULTILINE))
    assert named
    assert named - known == set()
