"""A realtime session goes on while orchd restarts, and so does its account."""

from __future__ import annotations

import json
from pathlib import Path

import aiohttp

from orchd import tasks
from orchd.app import App
from orchd.domain.outcomes import Outcome
from orchd.hooks.account import Account
from orchd.hooks.hook import HookOptions, JobHook
from orchd.hooks.job import Job
from orchd.hooks.part import HooksPart
from orchd.hooks.usage import Usage
from tests.advertise.rig import until
from tests.runners.local import scripted
from tests.test_app import app_with


class Meter(JobHook):
    """Notes what it is given. Attributes:
    charged: seconds since the session began.
    """

    def __init__(self) -> None:
        super().__init__(HookOptions())
        self.accounts: set[Account] = set()
        self.charged: list[float] = []
        self.settled: list[tuple[Account, Outcome]] = []

    async def admit(self, job: Job) -> None:
        job.set_payer("0xabc")
        job.note("meter.nonce", "7")

    def charge(self, account: Account, used: float) -> None:
        self.accounts.add(account)
        self.charged.append(used)

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> None:
        self.settled.append((account, outcome))


def metered(folder: Path, url: str) -> tuple[App, Meter, str]:
    """Return a daemon with a meter before one external runner, and the base URL of its model."""
    meter = Meter()

    class Own(HooksPart):
        def load(self) -> list[tuple[str, JobHook]]:
            return [("meter", meter)]

    app = app_with(folder, {HooksPart: Own}, docker={"enabled": False})
    entry = {
        "pipeline": "live-video-to-video",
        "model_id": "m",
        "url": url,
        "profile": "pytrickle",
        "price_per_unit": 5,
        "health": {"interval_s": 0.1},
    }
    (folder / "aiModels.json").write_text(json.dumps([entry]))
    (listen,) = app._settings.jobs.listen
    return app, meter, f"http://{listen}/models/live-video-to-video/m"


async def test_a_session_is_charged_to_the_same_account_before_and_after_a_restart(tmp_path: Path) -> None:
    named = {"X-Stream-Id": "s1"}
    async with scripted(pytrickle=True) as runner, aiohttp.ClientSession() as client:

        async def ask(base: str, call: str) -> int:
            async with client.post(f"{base}/stream/{call}", data=b"{}", headers=named) as answer:
                return answer.status

        async def ready(base: str) -> bool:
            async with client.get(f"{base}/health") as answer:
                return answer.status == 200

        app, before, base = metered(tmp_path, runner.url)
        running = tasks.spawn(app.run(), name="app")
        await until("it is up", lambda: app.accepting)
        while not await ready(base):
            pass
        assert await ask(base, "start") == 200
        await until("it is charged", lambda: before.charged)
        app.stop()
        await running
        (account,) = before.accounts
        assert (account.payer, account.kind, account.note("meter.nonce")) == ("0xabc", "stream", "7")
        assert before.settled == []

        app, after, base = metered(tmp_path, runner.url)
        running = tasks.spawn(app.run(), name="app")
        await until("it is up again", lambda: app.accepting)
        await until("it is charged again", lambda: after.charged)
        assert after.accounts == {account}
        assert after.charged[0] > before.charged[-1], "counted from its first start"
        assert await ask(base, "stop") == 200
        await until("it is settled", lambda: after.settled)
        assert after.settled == [(account, Outcome.OK)]
        app.stop()
        await running
