"""`docs/tutorial/first-model.md` is walked as it stands; only ports and paths are others."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.e2e.conftest import Start
from tests.e2e.daemon import ROOT, Daemon

PAGE = (ROOT / "docs" / "tutorial" / "first-model.md").read_text()
MODEL = "green-tint-cpu"


def first_file() -> str:
    """Return the file of the first step."""
    (found,) = re.findall(r"^cat > aiModels.json <<'EOF'\n(.*?)^EOF$", PAGE, re.MULTILINE | re.DOTALL)
    return str(found)


def additions() -> list[str]:
    """Return what the third step has people add to the entry."""
    return re.findall(r"add `(\"[^`]*,)`", PAGE, re.IGNORECASE)


async def frame(daemon: Daemon) -> tuple[int, bytes]:
    body, headers = bytes(921_600), {"X-Model-Id": MODEL, "Content-Type": "application/octet-stream"}
    async with daemon.client.post(f"{daemon.url}/live/video-to-video", data=body, headers=headers) as answer:
        return answer.status, await answer.read()


async def serves(daemon: Daemon) -> None:
    status, tinted = await frame(daemon)
    assert (status, len(tinted)) == (200, 921_600)


def applied(daemon: Daemon) -> int:
    return len(daemon.events("models_file_applied"))


def moves(daemon: Daemon) -> list[tuple[str, str]]:
    return [(line["generation"], line["state"]) for line in daemon.events("runner_state")]


async def saved(daemon: Daemon, text: str) -> None:
    """Save the file, and wait until it is applied."""
    before = applied(daemon)
    daemon.models.write_text(text)
    await daemon.until("the edit is applied", lambda: applied(daemon) > before)


async def test_each_step_of_the_tutorial_does_what_the_page_says(make: Start) -> None:
    daemon = make(settings={"reconcile.backoff_min_s": "60", "reconcile.backoff_max_s": "60"})
    daemon.folder.mkdir()
    (daemon.folder / "orchd").symlink_to(ROOT / "orchd")
    text = first_file()
    daemon.models.write_text(text)
    code, said = await daemon.command("check", str(daemon.models))
    assert (code, said.strip().splitlines()[-1]) == (0, "1 model, 0 errors, 0 warnings")
    await daemon.start()
    await daemon.until_state(MODEL, "ready")
    assert applied(daemon) == 1
    await serves(daemon)
    await daemon.until("the job has its line", lambda: [e["outcome"] for e in daemon.events("job_done")] == ["ok"])

    sessions, env = additions()
    text = text.replace('"warm"', f'{sessions} "warm"')
    before = moves(daemon)
    await saved(daemon, text)
    await daemon.until_model(MODEL, "has two slots", lambda model: model["sessions"]["max"] == 2)
    assert moves(daemon) == before, "nothing is restarted"

    text = text.replace('"warm"', f'{env} "warm"')
    await saved(daemon, text)
    old = before[0][0]
    await daemon.until("the new one is ready", lambda: [g for g, state in moves(daemon) if state == "ready"][-1] != old)
    order = [(generation == old, state) for generation, state in moves(daemon)[len(before) :]]
    assert order.index((False, "prepared")) < order.index((True, "draining")) < order.index((False, "starting"))

    daemon.models.write_text(text.replace('"warm": true,', '"warm": true'))
    model = await daemon.until_model(MODEL, "is held over", lambda model: model["held_over"])
    assert model["state"] == "ready"
    assert re.search(r"aiModels.json:\d+:\d+: .*','", (await daemon.command("check", str(daemon.models)))[1])
    await serves(daemon)
    await saved(daemon, text)

    await saved(daemon, text.replace('"python3"', '"pyton3"'))
    await daemon.until_model(MODEL, "waits", lambda m: [r for r in m["runners"] if r["state"] == "backoff"])
    shown = await show(daemon)
    assert "no such program" in shown
    assert "next start in" in shown
    await serves(daemon)
    await saved(daemon, text)

    await saved(daemon, text.replace("green_tint.py", "nowhere.py"))
    await daemon.until_state(MODEL, "backoff")
    shown = await show(daemon)
    assert "exited with code 2" in shown
    assert "No such file or directory" in shown
    status, refusal = await frame(daemon)
    assert (status, json.loads(refusal)["error"]) == (503, "not_ready")
    await saved(daemon, text)
    await daemon.until_state(MODEL, "ready")
    await serves(daemon)
    assert await daemon.end() == 0


async def show(daemon: Daemon) -> Any:
    return (await daemon.command("status", MODEL, *daemon.flags("admin.listen")))[1]
