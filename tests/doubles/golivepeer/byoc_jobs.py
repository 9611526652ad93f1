"""`POST /process/request/…`: one job to the worker, and what becomes of its answer and of the slot.

Source: byoc.md 5; byoc-job.json, byoc-job-paths.json, byoc-sse.json, byoc-connections.json.
"""

from __future__ import annotations

import math

from aiohttp import web

from tests.doubles.golivepeer.byoc import Byoc, Refused
from tests.doubles.golivepeer.byoc_creds import Job
from tests.doubles.golivepeer.byoc_sse import relay
from tests.doubles.shared.go_client import Answer, BodyBroken, WorkerFailed, WorkerLate
from tests.doubles.shared.go_http import decoded_path, text_error

_PATH = "/process/request/"


def routes(byoc: Byoc) -> list[web.RouteDef]:
    async def run(request: web.Request) -> web.StreamResponse:
        if request.method != "POST":
            return text_error(405, "Method not allowed")
        try:
            job = byoc.check(request)
        except Refused as refused:
            return refused.answer
        return await _serve(byoc, request, job)

    async def without_slash(request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": str(request.rel_url).replace(_PATH[:-1], _PATH, 1)})

    return [web.route("*", _PATH + "{rest:.*}", run), web.route("*", _PATH[:-1], without_slash)]


def _failed(job_balance: str, why: object) -> web.Response:
    text = f"job not able to be processed, removing capability err={why}"
    return text_error(500, text, {"Livepeer-Balance": job_balance})


async def _serve(byoc: Byoc, request: web.Request, job: Job) -> web.StreamResponse:
    """Serve a job that holds a slot. The slot leaks on every way out that doesn't release it, as in the node."""
    clock = byoc.node.clock
    try:
        body = await request.read()
    except (web.HTTPException, ConnectionError, ValueError):
        return text_error(500, "Error reading request body")
    # By name, as everything here: an upsert meanwhile replaces the record.
    record = byoc.capabilities.get(job.capability)
    url, token = (record.url, record.token) if record else ("", "")
    rest = decoded_path(request).removeprefix(_PATH)
    headers = {"Content-Type": request.headers.get("Content-Type", "")}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    start = clock.now()
    try:
        with clock.busy():
            answer = await byoc.client.post(f"{url}/{rest}" if rest else url, headers, body, job.timeout_s)
    except WorkerLate as error:
        _charge(byoc, job, start)
        return _failed(byoc.balance(job), error)
    except WorkerFailed as error:
        byoc.remove(job.capability)
        _charge(byoc, job, start)
        return _failed(byoc.balance(job), error)
    if answer.status == 401:
        answer.close()
        byoc.remove(job.capability)
        _charge(byoc, job, start)
        return _failed(byoc.balance(job), "worker auth token failed")
    try:
        if "text/event-stream" in answer.headers.get("Content-Type", ""):
            return await relay(byoc, request, job, answer)
        return await _pass_on(byoc, job, answer, start)
    finally:
        answer.close()
        byoc.release(job.capability)


async def _pass_on(byoc: Byoc, job: Job, answer: Answer, start: float) -> web.Response:
    metadata = answer.headers.get("X-Metadata", "")
    try:
        body = await answer.read()
    except BodyBroken as error:
        _charge(byoc, job, start)
        return text_error(500, str(error), {"X-Metadata": metadata, "Livepeer-Balance": byoc.balance(job)})
    _charge(byoc, job, start)
    headers = {"X-Metadata": metadata, "Livepeer-Balance": byoc.balance(job)}
    if answer.status > 399:
        return text_error(answer.status, body.decode("utf-8", "surrogateescape"), headers)
    return web.Response(body=body, headers={"Content-Type": answer.headers.get("Content-Type", ""), **headers})


def _charge(byoc: Byoc, job: Job, start: float) -> None:
    """Each begun second is paid; a job takes some time even where the clock stands still."""
    byoc.charge(job, max(1, math.ceil(byoc.node.clock.now() - start)))
