"""Real signals to the real daemon: none ends it without a line, and a reload reads again what it should."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from orchd.cli.signals import signal_name
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import Runner, process
from tests.e2e.test_service import ends

ENDING = {signal.SIGTERM, signal.SIGINT, signal.SIGQUIT}
FAULTS = {signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP}
STOPPING = {signal.SIGKILL, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
SILENT = {signal.SIGHUP, signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH, signal.SIGPIPE, signal.SIGXFSZ}


def send(daemon: Daemon, number: int) -> None:
    assert daemon.process is not None
    daemon.process.send_signal(number)


async def test_every_signal_that_would_end_a_program_is_said_and_ends_nothing(make: Start) -> None:
    """All that the system has, but those that stop a process or tell of a fault in it; then one that ends it."""
    async with make() as daemon:
        daemon.write(process("m"))
        await daemon.until_state("m", "ready")
        ours = sorted({int(one) for one in signal.valid_signals()} - ENDING - FAULTS - STOPPING)
        for number in ours:
            send(daemon, number)
        expected = {signal_name(number) for number in ours if number not in SILENT}
        assert {"SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPWR", "SIGRTMAX"} <= expected
        await daemon.until(
            "all are said", lambda: {line["signal"] for line in daemon.events("signal_ignored")} == expected
        )
        await daemon.until("SIGHUP is heard", lambda: daemon.events("reload_asked"))
        assert (await daemon.job("m"))[0] == 200
        assert await daemon.end(signal.SIGQUIT) == 0
        assert [line["why"] for line in daemon.events("orchd_stopping")] == ["SIGQUIT"]


async def test_the_second_ctrl_c_says_what_is_waited_for_and_the_third_ends_it(make: Start) -> None:
    async with make(settings={"shutdown_drain_s": "600"}) as daemon:
        daemon.write(process("m"))
        model = await daemon.until_state("m", "ready")
        runner = Runner(model["runners"][0]["address"], daemon.client)
        job = await daemon.begin_job("m", "/gate/g")
        await runner.seen(waiting=1)
        send(daemon, signal.SIGINT)
        await daemon.until("it stops", lambda: daemon.events("orchd_stopping"))
        send(daemon, signal.SIGTERM)
        send(daemon, signal.SIGTERM)  # Only a person's Ctrl-C is counted.
        await daemon.until("it says that it still stops", lambda: daemon.events("still_stopping"))
        send(daemon, signal.SIGINT)

        def for_ctrl_c() -> list[dict[str, Any]]:
            """A SIGTERM that was on its way may be said after it."""
            return [line for line in daemon.events("still_stopping") if line["signal"] == "SIGINT"]

        [last] = await daemon.until("it says so for Ctrl-C", for_ctrl_c)
        assert last["waiting_for"] == "1 job to end, at most 600 s: 1 of text-to-image/m"
        assert last["hint"] == "Ctrl-C once more ends orchd at once"
        send(daemon, signal.SIGINT)
        assert await ends(daemon) == 130
        assert daemon.log_text().splitlines()[-1].startswith("orchd: ends at once, at the third Ctrl-C; ")
        job.close()


async def test_a_reload_reads_the_files_again_and_names_settings_that_need_a_restart(
    make: Start, tmp_path: Path
) -> None:
    config, variables = tmp_path / "orchd.toml", tmp_path / "orchd" / "m.env"
    config.write_text('[jobs]\nhold_limit = 3\n[log]\nlevel = "info"\n')
    daemon = make(env={"ORCHD_CONFIG": str(config)})
    daemon.write(process("m", env_file="m.env"), process("other"))
    variables.write_text("GREETING=hello\n")
    async with daemon:
        before = await daemon.until_state("m", "ready")
        other = await daemon.until_state("other", "ready")

        variables.write_text("GREETING=good day\n")
        config.write_text('[jobs]\nhold_limit = 5\n[log]\nlevel = "debug"\n')
        send(daemon, signal.SIGHUP)
        await daemon.until_model(
            "m",
            "runs with its new environment, and only so",
            lambda m: m["ready"] and [r["generation"] != before["generation"] for r in m["runners"]] == [True],
        )
        assert [(one["setting"], one["value"]) for one in daemon.events("setting_changed")] == [("log.level", "debug")]
        [held] = daemon.events("setting_not_changed")
        assert (held["setting"], held["value"], held["wanted"]) == ("jobs.hold_limit", 3, 5)
        assert held["reason"] == "needs a restart"
        again = await daemon.model("other")
        assert again["runners"][0]["handle"] == other["runners"][0]["handle"], "what has not changed runs on"

        config.write_text("[jobs]\nhold_limits = 5\n")
        send(daemon, signal.SIGHUP)
        refused = await daemon.until("the settings are refused", lambda: daemon.events("settings_refused"))
        assert "cannot use unknown setting jobs.hold_limits" in refused[0]["reason"]
        assert (await daemon.job("m"))[0] == 200
        assert json.dumps(refused).count("good day") == 0
