"""A state directory that is full at start, or loses what orchd has made in it: orchd and its models go on."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.conftest import fill
from tests.e2e.conftest import Start
from tests.e2e.scripts import process


async def test_a_full_disk_at_start_is_told_and_every_model_runs(make: Start, small_disk: Path) -> None:
    state_dir = small_disk / "state"
    state_dir.mkdir()
    filler = fill(small_disk)
    async with make(settings={"state_dir": str(state_dir)}) as daemon:
        daemon.write(process("m"))
        await daemon.until_state("m", "ready")
        assert (await daemon.job("m"))[0] == 200
        assert "no space is left" in daemon.events("store_only_in_memory")[0]["why"]
        filler.unlink()
        await daemon.until("the store is written", lambda: daemon.events("store_written_again"))
        await daemon.until("it takes orders", lambda: (state_dir / "control.sock").exists())
        code, said = await daemon.command("restart", "m", *daemon.flags("state_dir"))
        assert code == 0, said


async def test_a_state_directory_that_is_removed_is_made_again(make: Start) -> None:
    async with make() as daemon:
        daemon.write(process("m"))
        await daemon.until_state("m", "ready")
        away = daemon.state.rename(daemon.state.with_name("away"))  # At once: orchd makes it again while it is emptied.
        shutil.rmtree(away)
        made = ("lock", "orchd.db", "control.sock")
        await daemon.until("all is back", lambda: all((daemon.state / name).exists() for name in made))
        code, said = await daemon.command("restart", "m", *daemon.flags("state_dir"))
        assert code == 0, said
        await daemon.until("it was started again", lambda: len(list(daemon.state.glob("logs/*.log"))) == 1)
        await daemon.until_state("m", "ready")
        assert (await daemon.job("m"))[0] == 200
        code, said = await daemon.command("down", *daemon.flags())
        assert (code, said.splitlines()[-1]) == (0, "all runners are gone"), said
