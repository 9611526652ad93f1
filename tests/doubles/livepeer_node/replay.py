"""Plays a recording of a real Livepeer Node against the double: what `shared.player` does, and steps of its own.

Rules pick the steps: a new file needs no code here, unless it wants a node with a past (`stages`).
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchd.tasks import cancel
from tests.doubles.livepeer_node.__main__ import parsed, settings_of
from tests.doubles.livepeer_node.live_runners import LiveRunners
from tests.doubles.livepeer_node.node import Node
from tests.doubles.livepeer_node.settings import BadStart, NodeSettings, check
from tests.doubles.livepeer_node.worker import Worker
from tests.doubles.shared import player
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.player import Player
from tests.doubles.shared.recordings import Differs, Step, expect

# Where the recorded node and its workers are said to have listened. The node's own port had five digits: each length in
# the recordings counts one byte more for every time that its address stands in a body.
SERVICE, OURS = "127.0.0.1:8935", "127.0.0.1:18935"
WORKER_PORTS = (9901, 9902)

STALLED_S = 10.0
_LISTS = re.compile(r'"(runners|session_ids)":\[')
_SIZE = re.compile(r"\(([\d,]+) bytes\)")


class Replay(Player):
    """One file on one fresh node with two workers behind it. Grants are given with the recorded ports.

    Attributes:
        running: jobs that a stage has under way from one step to another.
        streams: answers that it reads.
        secrets: heartbeat secrets of runners that it registered, by id.
        stopping: the stop of the node, while it goes on.
    """

    worker: Worker

    def __init__(self, file: str, stage: Stage) -> None:
        clock = Clock()
        self.second = Worker(clock)
        worker = Worker(clock)
        self.node = Node(NodeSettings(service_url=f"http://{OURS}"), clock)
        super().__init__(stage, self.node, clock, worker, OURS)
        self.parts.append(self.second)
        ports = dict(zip(WORKER_PORTS, (worker.port, self.second.port), strict=True))
        self.to_ours = {f":{port}": f":{own}" for port, own in ports.items()} | {SERVICE: OURS}
        self.to_theirs = {own: theirs for theirs, own in self.to_ours.items()}
        self.set(**{"runner_grants": [f"127.0.0.1:{port}" for port in WORKER_PORTS]} | dict(stage.settings))
        self.node._reset(check(self.node.settings))
        self._temporary = tempfile.TemporaryDirectory()
        self.running: list[asyncio.Task[Answer]] = []
        self.streams: list[RawConnection] = []
        self._connections: list[RawConnection] = []
        self.secrets: dict[str, str] = {}
        self.stopping: asyncio.Task[None] | None = None

    async def run(self, steps: list[dict[str, Any]], left_out: Callable[[Step], bool]) -> list[str | None]:
        try:
            return await super().run(steps, left_out)
        finally:
            self._temporary.cleanup()
            for connection in self._connections:
                connection.close()
            await cancel(*self.running)

    async def connect(self) -> RawConnection:
        """Return a new connection to the service port; it is closed with the replay."""
        port = int(self.node.service_url.rpartition(":")[2])
        connection = RawConnection(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 22))
        self._connections.append(connection)
        return connection

    @property
    def live(self) -> LiveRunners:
        return self.node.live_runners

    @property
    def folder(self) -> Path:
        return Path(self._temporary.name)

    def set(self, **settings: Any) -> None:
        """Change the node's settings, recorded addresses to ours; they count from its next start."""
        ours = {name: self._translated(value) for name, value in settings.items()}
        self.node.settings = replace(self.node.settings, **ours)

    def _translated(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.ours(value)
        return tuple(self.ours(part) for part in value) if isinstance(value, list | tuple) else value

    async def restarted(self, **settings: Any) -> None:
        await self.node.kill()
        self.set(**settings)
        await self.node.start()

    def url_of(self, listener: str) -> str:
        return self.node.service_url if listener == "service" else self.node.metrics_url

    def body_of(self, text: str) -> bytes:
        if match := _SIZE.fullmatch(text):
            return b"x" * int(match[1].replace(",", ""))
        return b"x" * ((1 << 20) + 1) if text == "(1 MiB and more)" else text.encode()

    def alike(self, recorded: str, found: str) -> tuple[str, str]:
        """The order of runners and of sessions says nothing."""
        return _ordered(recorded), _ordered(found)

    def saw(self, step: Step) -> None:
        worker = self.second if step["step"].startswith("the second worker") else self.worker
        seen, peak = worker.take()
        self.compare_seen(step["worker_requests"], seen)
        expect(peak, step.get("peak_concurrency", peak), "most requests at once")

    async def special(self, step: Step) -> bool:
        if "worker_path" in step:
            expect([seen.path for seen in self.worker.take()[0]], step["worker_path"], "arrived")
        elif "toml" in step:
            file = self.folder / "bad.toml"
            file.write_text(step["toml"])
            await self.starts(step, NodeSettings(runner_config=file))
        elif "flags" in step:
            given = settings_of(parsed(step["flags"]))
            await self.starts(step, replace(given, bootstrap_secret=b"s3cret"))
        elif "answer" in step and "sent" in step:
            await self.raw(step["sent"], step["answer"])
        else:
            return False
        return True

    async def starts(self, step: Step, settings: NodeSettings) -> None:
        """Start another node, and compare what comes of it."""
        try:
            async with Node(settings, Clock()):
                said = None
        except BadStart as error:
            said = str(error)
        expected = step["stderr"] if step.get("exit_code") is not None else None
        expect(said, expected, "the refusal at start")

    async def raw(self, sent: str, recorded: str) -> None:
        """Send bytes and compare the bytes that come back; a Date and the order of headers say nothing."""
        connection = await self.connect()
        connection.write(self.ours(sent).encode())
        reading = asyncio.get_running_loop().create_task(connection.read(len(recorded)))
        while not reading.done():
            await asyncio.wait([reading], timeout=0.02)
            if self.worker.sleeping:
                await self.clock.advance(0.5)
        self.match(_raw(recorded), _raw(self.theirs(reading.result())))


class RawConnection:
    """Bytes to and from the node's service port, without HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._got = ""

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def read(self, length: int) -> str:
        """Return what has come once it has this length without its Date lines. Raises Differs if nothing comes."""
        while len(self.got) < length and await self._more():
            pass
        return self.got

    async def until(self, text: str) -> str:
        """Return what has come once `text` is in it. Raises Differs if it never comes."""
        while text not in self._got and await self._more():
            pass
        if text not in self._got:
            raise Differs(f"the connection ended without {text!r}: {self._got!r}")
        return self.got

    async def rest(self) -> str:
        """Return all, once the connection is at its end. Raises Differs if it does not end."""
        while await self._more():
            pass
        return self.got

    async def _more(self) -> bool:
        """Take in what comes next; False at the end. Raises Differs if nothing comes."""
        try:
            async with asyncio.timeout(STALLED_S):
                piece = await self._reader.read(1 << 16)
        except TimeoutError:
            raise Differs(f"nothing comes: {self._got[-200:]!r}") from None
        self._got += piece.decode("latin-1")
        return bool(piece)

    @property
    def got(self) -> str:
        return re.sub(r"(?<=\r\n)Date: [^\r]*\r\n", "", self._got)

    def close(self) -> None:
        self._writer.transport.abort()


def _raw(text: str) -> str:
    """Sort the headers of an answer's last head."""
    heads, mark, body = text.partition("\r\n\r\n")
    while body.startswith("HTTP/1."):
        more, mark, body = body.partition("\r\n\r\n")
        heads += "\r\n\r\n" + more
    before, _, last = heads.rpartition("\r\n\r\n")
    first, *headers = last.split("\r\n")
    return before + "\r\n".join([first, *sorted(headers)]) + mark + body


def _ordered(text: str) -> str:
    """Sort the elements of the lists whose order says nothing, as they are written."""
    for match in reversed(list(_LISTS.finditer(text))):
        elements, at = [], match.end()
        while text[at] != "]":
            at += text[at] == ","
            _, end = json.JSONDecoder().raw_decode(text, at)
            elements.append(text[at:end])
            at = end
        text = text[: match.end()] + ",".join(sorted(elements)) + text[at:]
    return text


Stage = player.Stage[Replay]
