"""README had people copy `config/orchd.toml`: the file of a former release, copied whole, starts this version."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import free_port

FILES = sorted((Path(__file__).parents[1] / "data" / "releases").glob("*/orchd.toml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.parent.name)
def test_the_settings_file_of_a_former_release_starts_the_daemon_and_what_was_renamed_is_named(
    file: Path, tmp_path: Path
) -> None:
    (tmp_path / "aiModels.json").write_text("[]")
    here = {
        "ORCHD_MODELS_FILE": str(tmp_path / "aiModels.json"),
        "ORCHD_STATE_DIR": str(tmp_path / "state"),
        "ORCHD_DOCKER_ENABLED": "false",
        "ORCHD_JOBS_LISTEN": f"127.0.0.1:{free_port()}",
        "ORCHD_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
        "ORCHD_LOG_FORMAT": "json",
    }
    env = {name: value for name, value in os.environ.items() if not name.startswith("ORCHD_")} | here
    command = [sys.executable, "-m", "orchd", "run", "--config", str(file)]
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        lines = []
        for line in daemon.stderr:
            lines.append(line)
            if "orchd_ready" in line:
                daemon.send_signal(signal.SIGTERM)
    assert daemon.returncode == 0, "".join(lines)
    assert any("jobs.look_us" in line and "jobs.busy_poll_us" in line for line in lines), lines
