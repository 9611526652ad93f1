"""`/ai/stream/…`: streams that outlive their request, their channels, and the node's 23 s tick.

Source: byoc.md 6; byoc-stream.json.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from aiohttp import web

from orchd.tasks import cancel, spawn
from tests.doubles.golivepeer.byoc import Byoc, Refused
from tests.doubles.golivepeer.byoc_creds import Job
from tests.doubles.shared import go_json
from tests.doubles.shared.go_client import Answer, BodyBroken, WorkerFailed
from tests.doubles.shared.go_http import sniffed, text_error
from tests.doubles.shared.go_json import GoJsonError

TICK_S = 23

# Suffix of the channel, the worker's body field, the header to the gateway, and the parameter that asks for it.
_CHANNELS = (
    ("-control", "control_url", "X-Control-Url", ""),
    ("-events", "events_url", "X-Events-Url", ""),
    ("", "subscribe_url", "X-Publish-Url", "enable_video_ingress"),
    ("-out", "publish_url", "X-Subscribe-Url", "enable_video_egress"),
    ("-data", "data_url", "X-Data-Url", "enable_data_output"),
)
_MIME = {"": "video/MP2T", "-out": "video/MP2T"}


@dataclass
class Stream:
    job: Job
    channels: list[str]
    monitor: asyncio.Task[None]


def routes(byoc: Byoc) -> list[web.RouteDef]:
    streams = _Streams(byoc)
    return [
        web.route("*", "/ai/stream/start", streams.start),
        web.route("*", "/ai/stream/stop", streams.stop),
        web.route("*", "/ai/stream/update", streams.update),
        web.route("*", "/ai/stream/payment", streams.payment),
    ]


class _Streams:
    def __init__(self, byoc: Byoc) -> None:
        self.byoc = byoc
        self.node = byoc.node

    async def start(self, request: web.Request) -> web.StreamResponse:
        byoc = self.byoc
        try:
            job = byoc.check(request, stream=True)
        except Refused as refused:
            return refused.answer
        # Up to the channels every refusal leaks the slot.
        try:
            body = await request.read()
        except (web.HTTPException, ConnectionError, ValueError):
            return text_error(400, "Error reading request body")
        try:
            wanted = go_json.decode(job.parameters)
            if not isinstance(wanted, dict):
                raise GoJsonError("not an object")
        except GoJsonError:
            return text_error(400, "Invalid job parameters")
        fields, headers, channels = self._channels(job, wanted)
        try:
            fields |= _object(body)
        except GoJsonError:
            byoc.release(job.capability)
            return text_error(400, "Invalid JSON body", headers)
        kind = {"Content-Type": request.headers.get("Content-Type", "")}
        try:
            answer = await self._call(job, "/stream/start", job.id, go_json.encode(fields).encode(), kind)
        except WorkerFailed:
            byoc.release(job.capability)
            return text_error(500, "Error sending request to worker", headers)
        return await self._started(job, channels, answer, headers)

    async def _started(self, job: Job, channels: list[str], answer: Answer, headers: dict[str, str]) -> web.Response:
        byoc = self.byoc
        if answer.status == 401:
            answer.close()
            byoc.remove(job.capability)
            return text_error(500, "Orchestrator worker failure", headers)
        body = await _body(answer)
        byoc.charge(job, 1)
        headers["Livepeer-Balance"] = byoc.balance(job)
        if answer.status > 399:
            byoc.release(job.capability)
            return sniffed(answer.status, body, headers)
        if job.id in byoc.streams:
            self._close(channels)
            byoc.release(job.capability)
            return text_error(500, "Error adding stream to external capabilities", headers)
        monitor = spawn(self._monitor(job, channels), name=f"monitor of {job.id}")
        byoc.streams[job.id] = Stream(job, channels, monitor)
        return web.Response(headers=headers)

    async def stop(self, request: web.Request) -> web.StreamResponse:
        try:
            job = self.byoc.check(request, stream=True, reserve=False)
        except Refused as refused:
            return refused.answer
        stream_id = _stream_id(job)
        try:
            answer = await self._call(job, "/stream/stop", stream_id, await request.read(), {})
        except WorkerFailed:
            await self._end(stream_id)
            return web.Response()
        passed = await self._passed(job, answer)
        await self._end(stream_id)
        return passed

    async def update(self, request: web.Request) -> web.StreamResponse:
        try:
            job = self.byoc.check(request, stream=True, reserve=False)
        except Refused as refused:
            return refused.answer
        kind = {"Content-Type": "application/json"}
        try:
            answer = await self._call(job, "/stream/params", _stream_id(job), await request.read(), kind)
        except WorkerFailed:
            return text_error(500, "Error sending request to worker")
        return await self._passed(job, answer)

    async def payment(self, request: web.Request) -> web.StreamResponse:
        try:
            job = self.byoc.check(request, stream=True, reserve=False)
        except Refused as refused:
            return refused.answer
        return web.Response(headers={"Livepeer-Balance": self.byoc.balance(job)})

    async def _call(self, job: Job, path: str, stream_id: str, body: bytes, headers: dict[str, str]) -> Answer:
        record = self.byoc.capabilities.get(job.capability)
        if record is None:
            raise WorkerFailed('unsupported protocol scheme ""')
        headers["X-Stream-Id"] = stream_id
        if record.token:
            headers["Authorization"] = f"Bearer {record.token}"
        with self.node.clock.busy():
            return await self.byoc.client.post(record.url + path, headers, body, job.timeout_s)

    async def _passed(self, job: Job, answer: Answer) -> web.Response:
        if answer.status == 401:
            answer.close()
            self.byoc.remove(job.capability)
            return text_error(500, "Orchestrator worker failure")
        return sniffed(answer.status, await _body(answer))

    def _channels(self, job: Job, wanted: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
        fields: dict[str, Any] = {"gateway_request_id": job.id}
        headers: dict[str, str] = {}
        names: list[str] = []
        for suffix, body_field, header, parameter in _CHANNELS:
            if parameter and go_json.field(wanted, parameter) is not True:
                continue
            name = job.id + suffix
            self.node.trickle.create(name, _MIME.get(suffix, "application/json"))
            names.append(name)
            url = f"{self.node.service_uri}/ai/trickle/{name}"
            headers[header] = url
            fields[body_field] = self._for_worker(url)
        return fields, headers, names

    def _for_worker(self, url: str) -> str:
        """`-liveAITrickleHostForRunner` replaces host and port in what the worker is told."""
        host = self.node.settings.trickle_host_for_runner
        return urlunsplit(urlsplit(url)._replace(netloc=host)) if host else url

    def _close(self, channels: list[str]) -> None:
        for name in channels:
            self.node.trickle.close(name)

    async def _end(self, stream_id: str) -> None:
        stream = self.byoc.streams.pop(stream_id, None)
        if stream is None:
            return
        await cancel(stream.monitor)
        self._close(stream.channels)
        self.byoc.release(stream.job.capability)

    async def _monitor(self, job: Job, channels: list[str]) -> None:
        """Debit at each tick; the second time without credit the stream is forgotten, and its slot with it."""
        seen_broke = 0
        while True:
            await self.node.clock.sleep(TICK_S)
            if job.capability not in self.byoc.capabilities:
                return
            if self.byoc.charge(job, TICK_S) < 0:
                seen_broke += 1
            if seen_broke == 2:
                self._close(channels)
                del self.byoc.streams[job.id]
                return


def _stream_id(job: Job) -> str:
    return go_json.string(go_json.field(go_json.decode(job.request) or {}, "stream_id"), "stream_id")


def _object(body: bytes) -> dict[str, Any]:
    found = go_json.decode(body.decode("utf-8", "replace"))
    if not isinstance(found, dict):
        raise GoJsonError("not an object")
    return found


async def _body(answer: Answer) -> bytes:
    try:
        return await answer.read()
    except BodyBroken:
        return b""
