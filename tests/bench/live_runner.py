"""`python -m tests.bench.live_runner [--quick]`: what sessions cost that orchd sells itself, as Markdown on stdout.

A request of a session, free and paid, stands against the same one at `/models/...` and through HAProxy; all have the
same backend (proxy_load.c) and are loaded in turns. Sessions are reached at the public listener and `/models/...` at
the job listener of one daemon: the same server, plain TCP for both; the public one counts each request against its
address as well. What payment costs is CPU of the daemon for each request, with 64 clients at once on open plain
connections, and how many are on the disk by one fsync (fsync_count.c); new connections and TLS handshakes stand apart.
Needs HAProxy, a C compiler and anvil. It ends with 1 if a bar is missed.

--quick   every row once and briefly, and no bar: tells that the bench works, not how fast anything is
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from tests.bench.database import fsync_counter
from tests.bench.live_runner_calls import Client, all_sent, challenge_request, reserve_request
from tests.bench.proxy_loads import LOADS, Runner
from tests.bench.proxy_programs import Missing, Program, Stand, check, find, on_core
from tests.bench.report import Row, Section, markdown
from tests.doubles.shared.caller import Answer
from tests.e2e.daemon import Daemon
from tests.e2e.paid.chain import DEPOSIT, RESERVE, PaidChain
from tests.e2e.paid.live_runner.models import FREE, LIVE, app_of, entries, path_of
from tests.e2e.paid.live_runner.outside import Seller, seller_settings
from tests.e2e.paid.live_runner.payer import Payer
from tests.tickets.validation.sender import Signer

AT_ONCE = 64
SESSION_BAR, CHALLENGE_BAR_US, RESERVE_BAR_US = 1.10, 300.0, 2000.0
LEAST_PER_FSYNC = 4
"""Paid reserves that are on the disk by one fsync, at 64 at once."""
NODE_TO_HAPROXY = 13.0
"""CPU of a job through Livepeer Node's own hop, in times of HAProxy's, at 16 connections."""
SECONDS = 10
"""What the first payment of a session covers."""
UNBOUNDED = {
    "public.address_rate": "1e9",
    "public.address_burst": "1000000",
    "public.payer_rate": "1e9",
    "public.payer_burst": "1000000",
    "public.max_connections_per_address": "2000",
}
PLAIN, FREE_SESSION, PAID_SESSION, HAPROXY = "/models/...", "a free session", "a paid session", "HAProxy"


@dataclass(frozen=True, slots=True)
class Effort:
    """Attributes:
    turns, seconds: how often and how long each is loaded.
    rounds: requests of each client, where payment is measured.
    """

    turns: int
    seconds: float
    rounds: int


FULL, QUICK = Effort(7, 1.0, 12), Effort(1, 0.2, 1)


@dataclass
class Shops:
    """Daemons on one chain, on the core of the proxies, and who pays them."""

    running: AsyncExitStack
    stand: Stand
    chain: PaidChain
    folder: Path
    counter: Path

    @property
    def fsyncs(self) -> Path:
        """Where the plain one's are counted."""
        return self.folder / "fsyncs"

    async def open(self, *, tls: bool) -> Seller:
        """Start one; it ends with `running`."""
        settings = seller_settings(self.chain) | UNBOUNDED | {"public.tls": str(tls).lower()}
        name = "tls" if tls else "plain"
        counting = {"LD_PRELOAD": str(self.counter), "FSYNC_COUNT": str(self.fsyncs)}
        daemon = Daemon(self.folder / name, f"t-bench-{name}", settings=settings, env={} if tls else counting)
        backend = f"http://127.0.0.1:{self.stand.backend_port}"
        daemon.write(*entries(backend, maxSessions=10_000, session_idle_s=3600))
        with on_core(self.stand.proxy_core):
            await daemon.start()
        self.running.push_async_callback(daemon.end)
        seller = Seller(daemon, self.chain, f"http{'s' * tls}://{settings['public.listen']}")
        await seller.ready()
        return seller

    async def payers(self, url: str) -> list[Payer]:
        """Return accounts with deposit and reserve, one for each client."""
        accounts = [Signer((number + 1).to_bytes(32, "big")) for number in range(AT_ONCE)]
        for account in accounts:
            await self.chain.local.fund(account.address, DEPOSIT, RESERVE)
        return [Payer(account, url) for account in accounts]


def process_of(daemon: Daemon, port: int = 0) -> Program:
    assert daemon.process is not None
    return Program("orchd", port, daemon.log, daemon.process.pid)


async def requests(seller: Seller, runner: Runner, haproxy: Program, turns: int) -> tuple[Section, list[str]]:
    """Load a session's requests in turns with those that they stand against."""
    paid = await seller.payer.begin(path_of(LIVE), 60)
    sessions = {FREE_SESSION: await seller.payer.begin_free(path_of(FREE)), PAID_SESSION: paid.app_path}
    public = process_of(seller.daemon, int(seller.url.rpartition(":")[2]))
    plain = replace(LOADS["small16"], path=f"/models/{app_of(FREE)}/small")
    loads = {
        PLAIN: (plain, process_of(seller.daemon, seller.daemon.jobs_port)),
        **{name: (replace(plain, path=f"{path}/small"), public) for name, path in sessions.items()},
        HAPROXY: (plain, haproxy),
    }
    cpu: dict[str, list[float]] = {name: [] for name in loads}
    for _ in range(turns):
        assert (await paid.top_up(tickets=10)).status == 200
        for name, (load, program) in loads.items():
            sample = await asyncio.to_thread(runner.measure, load, program)
            cpu[name].append(sample.cpu_us)
    rows, missed = [], []
    for name, values in cpu.items():
        to_plain, to_haproxy = (_ratio(values, cpu[other]) for other in (PLAIN, HAPROXY))
        bar = ""
        if name in sessions:
            bar = f"at most {SESSION_BAR:.2f} x {PLAIN}, {NODE_TO_HAPROXY / 4:.2f} x {HAPROXY}"
            if to_plain > SESSION_BAR or to_haproxy > NODE_TO_HAPROXY / 4:
                missed.append(f"a request of {name} costs {to_plain:.2f} x {PLAIN}, {to_haproxy:.2f} x {HAPROXY}")
        cells = (f"{statistics.median(values):.1f} us", f"x {to_plain:.2f}", f"x {to_haproxy:.2f}")
        rows.append(Row((name, *cells, bar)))
    about = (
        f"{LOADS['small16'].title}: CPU of the program for each, medians of {turns} turns. "
        f"Livepeer Node's own hop takes x {NODE_TO_HAPROXY:g} of HAProxy's."
    )
    head = ("", "CPU each", f"to {PLAIN}", f"to {HAPROXY}", "bars")
    return Section("Requests of a session", about, head, tuple(rows)), missed


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    return statistics.median(own / other for own, other in zip(ours, theirs, strict=True))


async def payment(shops: Shops, seller: Seller, turns: int, rounds: int) -> tuple[Section, list[str]]:
    """Let clients ask and pay all at once, on open connections."""
    payers = await shops.payers(seller.url)
    asking = [Client(seller.url, [challenge_request(each)] * rounds) for each in payers]
    await all_sent([replace(each, requests=each.requests[:1]) for each in asking], 402)  # Now all are known.
    asked = [await _measured(seller, asking, 402) for _ in range(turns)]
    challenge_us, challenges = statistics.median(us for us, _ in asked), asked[-1][1]
    paying = [
        Client(seller.url, [reserve_request(payer, answer, SECONDS) for answer in answers])
        for payer, answers in zip(payers, challenges, strict=True)
    ]
    before = _count(shops.fsyncs)
    reserve_us, _ = await _measured(seller, paying, 200)
    per_fsync = rounds * len(paying) / (_count(shops.fsyncs) - before)
    found = (("a challenge", challenge_us, CHALLENGE_BAR_US), ("a paid reserve", reserve_us, RESERVE_BAR_US))
    missed = [f"{name} costs {us:.0f} us" for name, us, bar in found if us > bar]
    if per_fsync < LEAST_PER_FSYNC:
        missed.append(f"{per_fsync:.1f} paid reserves share an fsync")
    rows = (
        Row(("a challenge", f"{challenge_us:.0f} us", "", f"at most {CHALLENGE_BAR_US:.0f} us")),
        Row(
            (
                *("a paid reserve", f"{reserve_us:.0f} us", f"{per_fsync:.1f}"),
                f"at most {RESERVE_BAR_US:.0f} us, at least {LEAST_PER_FSYNC} per fsync",
            )
        ),
    )
    about = (
        f"{AT_ONCE} clients at once on open plain connections, {rounds} requests each: CPU of the daemon for each, of "
        f"challenges the median of {turns} turns, as the daemon asks the chain about payers meanwhile. All "
        "fsyncs of the daemon meanwhile are counted: those of what was taken, of sessions' records, and of checkpoints."
    )
    return Section("What payment costs", about, ("", "CPU each", "per fsync", "bars"), rows), missed


def _count(fsyncs: Path) -> int:
    return int.from_bytes(fsyncs.read_bytes(), sys.byteorder)


async def _measured(seller: Seller, clients: Sequence[Client], expected: int) -> tuple[float, list[list[Answer]]]:
    """Return the CPU for each request, in us, and the answers."""
    process = process_of(seller.daemon)
    before = process.usage().cpu_s
    answers = await all_sent(clients, expected)
    count = sum(len(client.requests) for client in clients)
    return (process.usage().cpu_s - before) / count * 1e6, answers


async def connections(shops: Shops, plain: Seller, rounds: int) -> Section:
    """Measure what a connection of its own adds to a challenge, without TLS and with."""
    rows = []
    for name, seller in (
        ("an open connection", plain),
        ("a new one", plain),
        ("a new one, TLS", await shops.open(tls=True)),
    ):
        asking = [challenge_request(seller.payer)] * rounds
        clients = [Client(seller.url, asking, reconnects="new" in name)] * 16
        await all_sent(clients[:1], 402)
        us, _ = await _measured(seller, clients, 402)
        rows.append(Row((name, f"{us:.0f} us")))
    about = "A challenge, 16 clients at once: CPU of the daemon for each."
    return Section("What a connection costs", about, ("", "CPU each"), tuple(rows))


async def bench(folder: Path, effort: Effort) -> tuple[list[Section], list[str]]:
    """Return what was measured, and the bars that were missed."""
    token = secrets.token_hex(16)
    with ExitStack() as processes:
        stand = Stand(processes, folder, token)
        haproxy = stand.start("haproxy")
        async with AsyncExitStack() as running:
            chain = await running.enter_async_context(PaidChain.started(folder))
            shops = Shops(running, stand, chain, folder, fsync_counter(find("cc"), folder))
            seller = await shops.open(tls=False)
            runner = Runner(stand, folder, token, effort.seconds)
            of_requests, slow = await requests(seller, runner, haproxy, effort.turns)
            of_payment, dear = await payment(shops, seller, effort.turns, effort.rounds)
            return [of_requests, of_payment, await connections(shops, seller, effort.rounds)], [*slow, *dear]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.live_runner", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="every row once and briefly, and no bar")
    quick = parser.parse_args().quick
    try:
        check(["haproxy"])
    except Missing as exc:
        print(exc, file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="orchd-bench-") as folder:
        sections, missed = asyncio.run(bench(Path(folder), QUICK if quick else FULL))
    print(*map(markdown, sections), sep="\n")
    for each in () if quick else missed:
        print(f"missed: {each}")
    return 0 if quick or not missed else 1


if __name__ == "__main__":
    sys.exit(main())
