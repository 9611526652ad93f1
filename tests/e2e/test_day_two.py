"""`docs/how-to/day-two.md` is walked as it stands, with real containers and processes that crash, hang and load."""

from __future__ import annotations

import pytest

from tests.day_two.local import machine
from tests.day_two.walk import PAGE, check


@pytest.mark.docker
def test_each_command_of_the_page_prints_what_the_page_says(instance: str, network: str) -> None:
    with machine(instance, network) as here:
        typed = [*check(here, PAGE.read_text())]
    words = {command.split()[1] for command in typed if command.startswith("orchd ")}
    assert words >= {"status", "logs", "events", "restart", "stop", "start", "check", "version"}
