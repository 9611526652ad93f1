"""`python -m tests.bench.hooks [--quick]`: what each hook adds to a job at one connection, as Markdown on stdout.

One daemon for each, all before the same runner and loaded in turns, so that what else the machine does meets all alike.
The default, which names no hook that has anything to do here, stands against `hooks.order = []`: a job pays nothing for
hooks that are not configured.

What `tickets` adds is measured at the door that it is for: a job from credit against one that is free.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import statistics
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.bench.load import Load, Target, load
from tests.bench.report import Row, Section, markdown
from tests.e2e.daemon import ROOT, Daemon
from tests.e2e.paid.chain import PaidChain
from tests.e2e.paid.kit import FREE, PAID, Payer, selling
from tests.tickets.validation.sender import Signer, checksummed

BODY = b'{"prompt": "a small red house by the sea"}'
SENDER = Signer(b"\x46" * 32)
CREDIT = f'path = ["{ROOT}/config/hooks"]\n[hooks.credit]\nprice = 1\ngift = 1000000000\ntop_up_url = "-"\n'
HEAD = ("hooks", "p50", "added", "ratio")


def variants(webhook: str) -> dict[str, str]:
    """Return the lines of `[hooks]` to measure with, by what they are called."""
    asks = f'order = ["webhook"]\n[hooks.webhook]\nurl = "{webhook}"\n'
    return {
        "none": "order = []\n",
        "the default": "",
        "signed-job": 'order = ["signed-job"]\n',
        "limits": 'order = ["limits"]\n[hooks.limits]\nsessions = 8\njobs_per_minute = 1000000000\n',
        "webhook, answer remembered": asks,
        "webhook, each job asks": f"{asks}cache_s = 0\n",
        "credit (config/hooks), two writes and its own": f'order = ["credit:Credit"]\n{CREDIT}',
    }


def job_header() -> str:
    said = {
        "request": "{}",
        "parameters": "{}",
        "capability": "bench/echo",
        "timeout_seconds": 30,
        "sender": checksummed(SENDER.address),
        "sig": "0x" + SENDER.sign_text("{}{}").hex(),
    }
    return base64.b64encode(json.dumps(said).encode()).decode()


async def allowing(stack: AsyncExitStack) -> str:
    """Serve a webhook that allows everything; return its URL."""

    async def allow(request: web.Request) -> web.Response:
        return web.json_response({"allow": True})

    app = web.Application()
    app.router.add_post("/", allow)
    runner = web.AppRunner(app)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}/"


async def a_runner(stack: AsyncExitStack) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.small_runner"), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )

    async def end() -> None:
        process.kill()
        await process.wait()

    stack.push_async_callback(end)
    assert process.stdout is not None
    return f"http://127.0.0.1:{int(await process.stdout.readline())}"


async def measure(folder: Path, turns: int, seconds: float) -> Section:
    """Load all in turns of `seconds`."""
    headers = {
        "Content-Type": "application/json",
        "X-Model-Id": "echo",
        "X-Account": "bench",
        "Livepeer": job_header(),
    }
    targets: dict[str, Target] = {}
    async with AsyncExitStack() as stack:
        url = await a_runner(stack)
        entry = {"pipeline": "bench", "model_id": "echo", "url": url, "maxSessions": 4, "price_per_unit": 0}
        for n, (name, lines) in enumerate(variants(await allowing(stack)).items()):
            home = folder / str(n)
            home.mkdir()
            (home / "orchd.toml").write_text(f"[hooks]\n{lines}")
            daemon = Daemon(home, f"t-bench-hooks-{n}", settings={"config": str(home / "orchd.toml")})
            daemon.write(entry)
            await stack.enter_async_context(daemon)
            await daemon.until_state("echo", "ready")
            targets[name] = Target.post(f"{daemon.url}/bench", headers, BODY)
            await load(targets[name], connections=1, seconds=0.2)  # What is made at first use is made now.
        rounds: dict[str, list[float]] = {name: [] for name in targets}
        for _ in range(turns):
            for name, target in targets.items():
                rounds[name].append(p50_us(await load(target, connections=1, seconds=seconds)))
    return Section(
        "Hooks",
        f"POST of {len(BODY)} bytes at 1 connection; medians of {turns} turns of {seconds:g} s, compared turn by turn.",
        HEAD,
        tuple(row(name, each, rounds["none"]) for name, each in rounds.items()),
    )


async def measure_tickets(folder: Path, turns: int, seconds: float) -> Section:
    """Load the public door in turns: with jobs that are free, and with jobs that are paid from credit.

    Both are signed, and both cost that; what is added is to judge the credit, to charge, and to write the charge.
    """
    rounds: dict[str, list[float]] = {FREE: [], PAID: []}
    async with PaidChain.started(folder) as chain:

        def make(name: str, **how: Any) -> Daemon:
            return Daemon(folder / name, f"t-bench-{name}", **how)

        async with selling(make, chain, "tickets", settings={"public.tls": "false"}) as shop:
            payer = Payer(chain.gateway, shop.url)
            paid = await payer.send(payer.tickets(await payer.token(), range(600)))  # Ten hours of work.
            assert paid.status == 200, paid.text
            headers = {name: payer.job_headers(name) for name in rounds}
            targets = {name: Target.post(f"{shop.url}/process/request/run", headers[name], b"{}") for name in rounds}
            for _ in range(turns):
                for name, target in targets.items():
                    rounds[name].append(p50_us(await load(target, connections=1, seconds=seconds)))
    return Section(
        "Tickets",
        f"Signed jobs at public.listen, without TLS, at 1 connection; medians of {turns} turns of {seconds:g} s.",
        HEAD,
        tuple(
            row(told, rounds[name], rounds[FREE])
            for told, name in (("tickets, a free job", FREE), ("tickets, a job from credit", PAID))
        ),
    )


def p50_us(load: Load) -> float:
    return load.percentile_us(50)


def row(name: str, ours: list[float], none: list[float]) -> Row:
    added = statistics.median(own - other for own, other in zip(ours, none, strict=True))
    ratio = statistics.median(own / other for own, other in zip(ours, none, strict=True))
    return Row((name, f"{statistics.median(ours):,.0f} us", f"{added:+,.0f} us", f"x {ratio:.2f}"))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.hooks")
    parser.add_argument("--quick", action="store_true", help="tells that it works, not how fast anything is")
    turns, seconds = (1, 0.1) if parser.parse_args().quick else (10, 0.5)
    with tempfile.TemporaryDirectory() as folder:
        for of in (measure, measure_tickets):
            print(markdown(asyncio.run(of(Path(folder), turns, seconds))))


if __name__ == "__main__":
    main()
