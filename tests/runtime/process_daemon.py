"""Stands in for orchd where a test kills it: starts one runner, says so, and waits to be killed.

python -m tests.runtime.process_daemon INSTANCE STATE_DIR SCRIPT [ARGV...]
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from orchd.runtime.process.runtime import ProcessRuntime
from orchd.runtime.process.settings import ProcessSettings
from tests.runtime.process_models import RUNNER, scripted_model


async def main(instance: str, state_dir: str, script: str, *argv: str) -> None:
    runtime = ProcessRuntime(ProcessSettings(), instance=instance, state_dir=Path(state_dir))
    await runtime.open()
    handle = await runtime.prepare(scripted_model(*argv, **json.loads(script)), RUNNER, print)
    await runtime.start(handle)
    print("started", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
