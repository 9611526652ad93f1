"""A runner that behaves as its script says. Standard library only; one event loop.

Run it: `python3 scripted.py [--port N] [JSON]`; or with PORT (default 8000; 0 = any), HOST (default 0.0.0.0) and SCRIPT
(JSON) in the environment. `POST /_script` with a JSON object changes the script while it runs. Nothing needs a sleep:
requests wait at gates that the test opens, and `/_seen` waits until a number is reached.

Script, with its defaults:
    health_path      "/health"
    health_word      null   status word; null = ok, or IDLE/OK with `pytrickle`
    health_body      null   text of the whole body; null = {"status": word}
    health_code      200
    health_type      "application/json"
    health_delay_s   0
    health_mode      "answer" | "hang" (accepts, never answers) | "reset"
    loading_s        0      says LOADING so long after its start
    open_after_s     0      opens its port so late; -1 = never
    exit_at_once     null   exit code: ends before anything else
    mute             false  accepts every request and answers none (but /_...)
    term             "exit" (0, at once) | "drain" (0, after running requests) | "ignore"; SIGINT always exits 130
    crash_after      null   the n-th job ends the process with code 3
    leak_mb_s        0      memory leaked, MiB a second
    pytrickle        false  stream routes exist: {stream_prefix}/stream/start, stop, status
    stream_prefix    ""
    spawn            []     a child process to start, as an argument list
    spawn_setsid     false  it gets a session of its own
    say              []     lines printed at the start
    job              "/echo" what a POST on any unknown path does
    routes           {}     path -> {"code", "headers": [[name, value]], "body"} or {"raw": bytes as text, then close}

Control (never counted as requests):
    POST /_script           merge into the script; answers the whole script
    POST /_open/NAME[?n=N]  let N pass the gate; without n all, for ever
    GET  /_seen[?COUNT=N]   counters: requests, active, finished, cancelled (caller left), health, waiting (at gates),
                            and `last`, the newest 50 requests; waits until COUNT is at least N (idle=1: none active)
    GET  /_env              its environment and pid

Jobs, any method. The header `X-Do: /route?query` picks one whatever the path:
    /echo              JSON: method, target, headers, framing, length and sha256 of the body, trailers
    /raw               the body as it comes, piece by piece, same content type and framing
    /gate/NAME         reads the body, waits at the gate, answers JSON
    /sse?n=&interval=&gate=   events 0..n-1 (n=0: no end); with a gate each one after the first waits there
    /bytes?n=&piece=&chunked=1  n bytes of body
    /slow?first=&total=&n=    first byte after `first` seconds, n pieces over `total`
    /ws                WebSocket echo; the text "close" makes it close with 1000, "drop" breaks off
    /gzip              gzip-encoded text           /status/NNN   that status
    /close             no length, ends by closing  /trailers     chunked, with a trailer
    /interim           103, then 200               /early?code=&close=1  answers before it reads the body
    /break?of=&at=&framing=sized|chunked|head&reset=1  breaks off after `at` of `of` bytes
    /hang              reads the body, never answers
    /block?s=          blocks the whole loop, health included, for s seconds or until SIGUSR1
    /leak?mb=          takes so much memory        /exit/N       ends the process with code N
    /print?line=       prints a line
"""

from __future__ import annotations

import asyncio
import base64
import collections
import gzip
import hashlib
import json
import os
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

PIECE = 65536
GONE = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
DEFAULTS: dict[str, Any] = {
    "health_path": "/health",
    "health_word": None,
    "health_body": None,
    "health_code": 200,
    "health_type": "application/json",
    "health_delay_s": 0,
    "health_mode": "answer",
    "loading_s": 0,
    "open_after_s": 0,
    "exit_at_once": None,
    "mute": False,
    "term": "exit",
    "crash_after": None,
    "leak_mb_s": 0,
    "pytrickle": False,
    "stream_prefix": "",
    "spawn": [],
    "spawn_setsid": False,
    "say": [],
    "job": "/echo",
    "routes": {},
}


class Exchange:
    """One request and the way to answer it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: bytes) -> None:
        self.reader, self.writer = reader, writer
        lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = lines[0].split(" ", 2)
        self.headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)]
        self.named = {name.lower(): value for name, value in self.headers}
        self.route(self.named.get("x-do", self.target))
        self.framing = "none"
        if "chunked" in self.named.get("transfer-encoding", "").lower():
            self.framing = "chunked"
        elif "content-length" in self.named:
            self.framing = "sized"
        self.closing = self.named.get("connection", "").lower() == "close"
        self.body_read = self.framing == "none"
        self.answered = False
        self.chunked = False
        self.hash = hashlib.sha256()
        self.seen: dict[str, Any] = {
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "framing": self.framing,
            "length": 0,
            "sha256": self.hash.hexdigest(),
            "trailers": [],
            "ended": None,
        }

    def route(self, target: str) -> None:
        self.path, _, query = target.partition("?")
        self.query = dict(parse_qsl(query))

    def number(self, name: str, default: float) -> float:
        return float(self.query.get(name, default))

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body without its framing, as it comes."""
        if self.body_read:
            return
        if self.named.get("expect", "").lower() == "100-continue" and not self.answered:
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        sizes = self._chunk_sizes() if self.framing == "chunked" else self._one_size()
        async for size in sizes:
            left = size
            while left:
                data = await self.reader.read(min(left, PIECE))
                if not data:
                    raise asyncio.IncompleteReadError(b"", left)
                left -= len(data)
                self.seen["length"] += len(data)
                self.hash.update(data)
                yield data
        self.body_read = True
        self.seen["sha256"] = self.hash.hexdigest()

    async def _one_size(self) -> AsyncIterator[int]:
        yield int(self.named["content-length"])

    async def _chunk_sizes(self) -> AsyncIterator[int]:
        while True:
            size = int((await self.reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size == 0:
                break
            yield size
            await self.reader.readuntil(b"\r\n")
        while (line := await self.reader.readuntil(b"\r\n")) != b"\r\n":
            self.seen["trailers"].append(line.decode("latin-1").strip())

    async def read(self) -> bytes:
        return b"".join([piece async for piece in self.pieces()])

    async def skip(self) -> None:
        async for _ in self.pieces():
            pass

    async def begin(
        self, code: int, headers: list[tuple[str, str]], length: int | None = None, until_close: bool = False
    ) -> None:
        """Send the head: sized with `length`, else chunked, or ended by closing."""
        empty = code < 200 or code in (204, 304)
        self.chunked = length is None and not until_close and not empty
        if self.chunked:
            headers = [*headers, ("Transfer-Encoding", "chunked")]
        elif length is not None and not empty:
            headers = [*headers, ("Content-Length", str(length))]
        if until_close or self.closing:
            self.closing = True
            headers = [*headers, ("Connection", "close")]
        reason = HTTPStatus(code).phrase if code in HTTPStatus._value2member_map_ else "Status"
        lines = [f"HTTP/1.1 {code} {reason}", *(f"{name}: {value}" for name, value in headers), "", ""]
        self.answered = True
        await self.write("\r\n".join(lines).encode("latin-1"))

    async def send(self, data: bytes) -> None:
        if data and self.method != "HEAD":
            await self.write(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    async def finish(self, trailers: str = "") -> None:
        if self.chunked and self.method != "HEAD":
            await self.write(b"0\r\n" + trailers.encode("latin-1") + b"\r\n")

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, code: int, body: bytes, kind: str = "application/json") -> None:
        await self.begin(code, [("Content-Type", kind)], len(body))
        if code not in (204, 304):
            await self.send(body)

    async def json(self, value: Any, code: int = 200) -> None:
        await self.answer(code, json.dumps(value).encode())

    def abort(self, reset: bool) -> None:
        if reset:  # Closing with no time to linger sends RST in place of FIN.
            raw: socket.socket = self.writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
        self.closing = True


class Runner:
    """The script, the counters, the gates and the routes."""

    def __init__(self, script: dict[str, Any]) -> None:
        self.script = {**DEFAULTS, **script}
        self.counts = dict.fromkeys(("requests", "active", "finished", "cancelled", "health", "waiting"), 0)
        self.last: collections.deque[dict[str, Any]] = collections.deque(maxlen=50)
        self.gates: dict[str, float] = collections.defaultdict(float)
        self.changed = asyncio.Condition()
        self.began_at = asyncio.get_running_loop().time()
        self.streaming = False
        self.leaked: list[bytes] = []
        self.exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def count(self, **by: int) -> None:
        async with self.changed:
            for name, n in by.items():
                self.counts[name] += n
            self.changed.notify_all()

    async def serve(self, ex: Exchange) -> None:
        """Answer one request, or raise what says that the caller left."""
        if ex.path.startswith("/_"):
            await self.control(ex)
        elif ex.path == self.script["health_path"]:
            await self.count(health=1)
            await self.health(ex)
        else:
            self.last.append(ex.seen)
            await self.count(requests=1, active=1)
            if self.script["crash_after"] is not None and self.counts["requests"] >= self.script["crash_after"]:
                os._exit(3)
            try:
                await (asyncio.Event().wait() if self.script["mute"] else self.job(ex))
            except GONE:
                ex.seen["ended"] = "finished" if ex.answered and ex.closing else "cancelled"
                raise
            else:
                ex.seen["ended"] = "finished"
            finally:
                await self.count(active=-1, **{ex.seen["ended"] or "finished": 1})

    async def pass_gate(self, name: str) -> None:
        await self.count(waiting=1)
        try:
            async with self.changed:
                await self.changed.wait_for(lambda: self.gates[name] >= 1)
                self.gates[name] -= 1
        finally:
            await self.count(waiting=-1)

    async def control(self, ex: Exchange) -> None:
        body = await ex.read()
        if ex.path == "/_script":
            self.script.update(json.loads(body or b"{}"))
            await ex.json(self.script)
        elif ex.path.startswith("/_open/"):
            async with self.changed:
                self.gates[ex.path[len("/_open/") :]] += ex.number("n", float("inf"))
                self.changed.notify_all()
            await ex.json({})
        elif ex.path == "/_seen":
            async with self.changed:
                await self.changed.wait_for(lambda: all(self.reached(k, int(v)) for k, v in ex.query.items()))
            await ex.json({**self.counts, "last": list(self.last)})
        elif ex.path == "/_env":
            await ex.json({"pid": os.getpid(), "env": dict(os.environ)})
        else:
            await ex.json({"error": "no such control"}, 404)

    def reached(self, name: str, n: int) -> bool:
        return self.counts["active"] == 0 if name == "idle" else self.counts[name] >= n

    async def health(self, ex: Exchange) -> None:
        script = self.script
        await asyncio.sleep(script["health_delay_s"])
        if script["mute"] or script["health_mode"] == "hang":
            await asyncio.Event().wait()
        if script["health_mode"] == "reset":
            return ex.abort(reset=True)
        ready = ("OK" if self.streaming else "IDLE") if script["pytrickle"] else "ok"
        loading = asyncio.get_running_loop().time() < self.began_at + script["loading_s"]
        word = "LOADING" if loading else script["health_word"] or ready
        body = json.dumps({"status": word}) if script["health_body"] is None else script["health_body"]
        await ex.answer(script["health_code"], body.encode(), script["health_type"])
        return None

    async def job(self, ex: Exchange) -> None:
        if (scripted := self.script["routes"].get(ex.path)) is not None:
            return await self.scripted(ex, scripted)
        if self.script["pytrickle"] and ex.path.startswith(self.script["stream_prefix"] + "/stream/"):
            return await self.stream(ex)
        if (found := self.find(ex.path)) is None and ex.method == "POST" and "/stream/" not in ex.path:
            ex.route(self.script["job"])
            found = self.find(ex.path)
        return await found(ex) if found else await ex.json({"error": "not found", "path": ex.path}, 404)

    def find(self, path: str) -> Callable[[Exchange], Awaitable[None]] | None:
        return getattr(self, "do_" + path.split("/")[1], None)

    async def scripted(self, ex: Exchange, answer: dict[str, Any]) -> None:
        await ex.skip()
        ex.answered = True
        if "raw" in answer:
            ex.closing = True
            return await ex.write(answer["raw"].encode("latin-1"))
        body = answer.get("body", "").encode()
        await ex.begin(answer.get("code", 200), [(k, v) for k, v in answer.get("headers", [])], len(body))
        return await ex.send(body)

    async def stream(self, ex: Exchange) -> None:
        await ex.skip()
        what = ex.path.rsplit("/", 1)[1]
        if what == "start":
            refused, self.streaming = self.streaming, True
            await ex.json({"status": "error" if refused else "success"}, 503 if refused else 200)
        elif what == "stop":
            running, self.streaming = self.streaming, False
            await ex.json({"status": "success" if running else "error"}, 200 if running else 400)
        else:
            await ex.json({"active_streams": int(self.streaming)})

    async def do_echo(self, ex: Exchange) -> None:
        await ex.skip()
        await ex.json({k: v for k, v in ex.seen.items() if k != "ended"})

    async def do_raw(self, ex: Exchange) -> None:
        length = None if ex.framing == "chunked" else int(ex.named.get("content-length", 0))
        head = [("Content-Type", ex.named.get("content-type", "application/octet-stream"))]
        async for piece in ex.pieces():
            if not ex.answered:
                await ex.begin(200, head, length)
            await ex.send(piece)
        if not ex.answered:
            await ex.begin(200, head, length)
        await ex.finish()

    async def do_gate(self, ex: Exchange) -> None:
        await ex.skip()
        name = ex.path[len("/gate/") :]
        await self.pass_gate(name)
        await ex.json({"gate": name, "length": ex.seen["length"]})

    async def do_sse(self, ex: Exchange) -> None:
        await ex.skip()
        await ex.begin(200, [("Content-Type", "text/event-stream"), ("Cache-Control", "no-cache")])
        end, n = int(ex.number("n", 5)), 0
        while not end or n < end:
            if n and "gate" in ex.query:
                await self.pass_gate(ex.query["gate"])
            await ex.send(f"data: {n}\n\n".encode())
            await asyncio.sleep(ex.number("interval", 0))
            n += 1
        await ex.finish()

    async def do_bytes(self, ex: Exchange) -> None:
        await ex.skip()
        left, piece = int(ex.number("n", 1000)), int(ex.number("piece", PIECE))
        head = [("Content-Type", "application/octet-stream")]
        await ex.begin(200, head, None if "chunked" in ex.query else left)
        while left:
            await ex.send(b"x" * min(piece, left))
            left -= min(piece, left)
        await ex.finish()

    async def do_slow(self, ex: Exchange) -> None:
        await ex.skip()
        await asyncio.sleep(ex.number("first", 0))
        pieces = int(ex.number("n", 10))
        await ex.begin(200, [("Content-Type", "text/plain")])
        for n in range(pieces):
            await ex.send(f"{n}\n".encode())
            await asyncio.sleep(ex.number("total", 0) / pieces)
        await ex.finish()

    async def do_gzip(self, ex: Exchange) -> None:
        await ex.skip()
        body = gzip.compress(b"the same line again\n" * 1000, mtime=0)
        await ex.begin(200, [("Content-Type", "text/plain"), ("Content-Encoding", "gzip")], len(body))
        await ex.send(body)

    async def do_status(self, ex: Exchange) -> None:
        await ex.skip()
        code = int(ex.path.split("/")[2])
        await ex.json({"status": code}, code)

    async def do_close(self, ex: Exchange) -> None:
        await ex.skip()
        await ex.begin(200, [("Content-Type", "text/plain")], until_close=True)
        await ex.send(b"until the end")

    async def do_trailers(self, ex: Exchange) -> None:
        await ex.skip()
        await ex.begin(200, [("Content-Type", "text/plain"), ("Trailer", "X-Sum")])
        await ex.send(b"body")
        await ex.finish("X-Sum: 4\r\n")

    async def do_interim(self, ex: Exchange) -> None:
        await ex.skip()
        await ex.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        await ex.json({})

    async def do_early(self, ex: Exchange) -> None:
        ex.closing = ex.closing or "close" in ex.query
        await ex.json({"early": True}, int(ex.number("code", 413)))

    async def do_break(self, ex: Exchange) -> None:
        await ex.skip()
        of, at = int(ex.number("of", 1000)), int(ex.number("at", 500))
        framing = ex.query.get("framing", "sized")
        if framing == "head":
            await ex.write(b"HTTP/1.1 200 OK\r\nContent-")
        else:
            await ex.begin(200, [("Content-Type", "text/plain")], of if framing == "sized" else None)
            await ex.send(b"x" * at)
        ex.abort("reset" in ex.query)

    async def do_hang(self, ex: Exchange) -> None:
        await ex.skip()
        await asyncio.Event().wait()

    async def do_block(self, ex: Exchange) -> None:
        await ex.skip()
        signal.sigtimedwait({signal.SIGUSR1}, ex.number("s", 5))
        await ex.json({})

    async def do_leak(self, ex: Exchange) -> None:
        await ex.skip()
        self.leak(int(ex.number("mb", 1)))
        await ex.json({})

    def leak(self, mb: float) -> None:
        self.leaked.append(b"x" * int(mb * 1024 * 1024))

    async def do_exit(self, ex: Exchange) -> None:
        os._exit(int(ex.path.split("/")[2]))

    async def do_print(self, ex: Exchange) -> None:
        await ex.skip()
        print(ex.query.get("line", ""), flush=True)
        await ex.json({})

    async def do_ws(self, ex: Exchange) -> None:
        """RFC 6455, echo of whole messages."""
        key = ex.named["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        head = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", accept)]
        if wanted := ex.named.get("sec-websocket-protocol"):
            head.append(("Sec-WebSocket-Protocol", wanted.split(",")[0].strip()))
        await ex.begin(101, head)
        ex.closing = ex.body_read = True
        message = b""
        kind = 0
        while True:
            first, second = await ex.reader.readexactly(2)
            size = second & 127
            if size > 125:
                size = int.from_bytes(await ex.reader.readexactly(2 if size == 126 else 8), "big")
            mask = await ex.reader.readexactly(4) if second & 128 else bytes(4)
            data = await ex.reader.readexactly(size)
            data = (int.from_bytes(data, "big") ^ int.from_bytes((mask * (size // 4 + 1))[:size], "big")).to_bytes(
                size, "big"
            )
            opcode = first & 15
            if opcode == 8:
                return await self.frame(ex, 8, data[:2])
            if opcode == 9:
                await self.frame(ex, 10, data)
            if opcode in (0, 1, 2):
                kind = opcode or kind
                message += data
                if not first & 128:
                    continue
                if message == b"drop":
                    return None
                if message == b"close":
                    return await self.frame(ex, 8, (1000).to_bytes(2, "big"))
                await self.frame(ex, kind, message)
                message = b""

    async def frame(self, ex: Exchange, opcode: int, data: bytes) -> None:
        size = len(data)
        if size < 126:
            head = bytes([128 | opcode, size])
        elif size < 65536:
            head = bytes([128 | opcode, 126]) + size.to_bytes(2, "big")
        else:
            head = bytes([128 | opcode, 127]) + size.to_bytes(8, "big")
        await ex.write(head + data)


class Connection(asyncio.StreamReaderProtocol):
    """Serves request after request; a caller that leaves during one cancels it."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.task: asyncio.Task[Any] | None = None
        self.busy = False
        super().__init__(asyncio.StreamReader(limit=4 * PIECE), self.serve)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.task = asyncio.current_task()
        try:
            closing = False
            while not closing:
                ex = Exchange(reader, writer, await reader.readuntil(b"\r\n\r\n"))
                self.busy = True
                await self.runner.serve(ex)
                self.busy = False
                if not (closing := ex.closing):
                    await ex.skip()
        except GONE:
            pass
        finally:
            writer.close()

    def eof_received(self) -> bool | None:
        keep = super().eof_received()
        self.left()
        return keep

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.left()

    def left(self) -> None:
        if self.busy and self.task:
            self.busy = False
            self.task.cancel()


async def main(port: int, script: dict[str, Any]) -> int:
    runner = Runner(script)
    loop = asyncio.get_running_loop()
    background: list[asyncio.Task[None]] = []

    async def leak() -> None:
        while True:
            await asyncio.sleep(0.05)
            runner.leak(runner.script["leak_mb_s"] / 20)

    async def drain() -> None:
        async with runner.changed:
            await runner.changed.wait_for(lambda: runner.counts["active"] == 0)
        runner.exit_code.set_result(0)

    def on_term() -> None:
        if runner.script["term"] == "drain":
            background.append(loop.create_task(drain()))
        elif runner.script["term"] == "exit":
            sys.stdout.flush()
            os._exit(0)

    loop.add_signal_handler(signal.SIGTERM, on_term)
    loop.add_signal_handler(signal.SIGINT, lambda: os._exit(130))
    for line in runner.script["say"]:
        print(line, flush=True)
    if runner.script["spawn"]:  # Before the port is open: nobody waits yet.
        subprocess.Popen(runner.script["spawn"], start_new_session=runner.script["spawn_setsid"])  # noqa: ASYNC220
    background.append(loop.create_task(leak()))
    if runner.script["open_after_s"] < 0:
        await asyncio.Event().wait()
    await asyncio.sleep(runner.script["open_after_s"])
    host = os.environ.get("HOST", "0.0.0.0")
    server = await loop.create_server(lambda: Connection(runner), host, port, backlog=2048)
    print(f"scripted: listening on {server.sockets[0].getsockname()[1]}", flush=True)
    return await runner.exit_code


if __name__ == "__main__":
    arguments = sys.argv[1:]
    port = int(os.environ.get("PORT", "8000"))
    if arguments[:1] == ["--port"]:
        port, arguments = int(arguments[1]), arguments[2:]
    script = json.loads(arguments[0] if arguments else os.environ.get("SCRIPT", "{}"))
    if script.get("exit_at_once") is not None:
        sys.exit(script["exit_at_once"])
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})  # Pending until /block takes it.
    sys.exit(asyncio.run(main(port, script)))
