"""What lies in `deploy/` is accepted by the programs that it is for."""

from __future__ import annotations

import configparser
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from orchd.domain.model import StopSpec
from orchd.metrics import Metrics
from orchd.settings import Settings

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
