"""The listener for payers behind a real nginx that is set up as the page says."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from yarl import URL

from orchd.public.certificate import make_certificate
from tests.advertise.rig import until
from tests.ports import free_port
from tests.public.rig import TOKEN, daemon

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "public-listener.md"
WHOLE = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{server}
}}
"""


@asynccontextmanager
async def nginx(program: str, folder: Path, orchd_port: int) -> AsyncIterator[str]:
    """Run it with the server of the page in front of orchd; yield its URL."""
    (server,) = re.findall(r"```nginx\n(.*?)```", PAGE.read_text(), re.DOTALL)
    port = free_port()
    for name, text in zip(("chain.pem", "key.pem"), make_certificate("localhost", 1_790_000_000.0), strict=True):
        (folder / name).write_bytes(text)
    for there, here in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("/etc/letsencrypt/live/ai.example.org/fullchain.pem", str(folder / "chain.pem")),
        ("/etc/letsencrypt/live/ai.example.org/privkey.pem", str(folder / "key.pem")),
        ("127.0.0.1:8740", f"127.0.0.1:{orchd_port}"),
    ):
        assert there in server
        server = server.replace(there, here)
    (folder / "nginx.conf").write_text(WHOLE.format(folder=folder, server=server))
    process = await asyncio.create_subprocess_exec(program, "-p", str(folder), "-c", str(folder / "nginx.conf"))
    try:
        await until("nginx listens", lambda: process.returncode is not None or (folder / "nginx.pid").exists())
        assert process.returncode is None, (folder / "error.log").read_text()
        yield f"https://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


async def test_behind_nginx_as_the_page_has_it_callers_are_told_apart_and_payments_pass(
    needs: Callable[[str], str], tmp_path: Path
) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    from_elsewhere = aiohttp.TCPConnector(ssl=trusting, local_addr=("127.0.0.2", 0))
    tickets = "x" * (120 * 1024)  # Of one payment, in one header.
    async with (
        daemon(tmp_path, tls=False, trusted_proxies=["127.0.0.1"]) as public,
        nginx(needs("nginx"), tmp_path, public.port) as url,
        aiohttp.ClientSession(url, connector=from_elsewhere) as session,
    ):
        claimed = {"X-Forwarded-For": "203.0.113.9", "Livepeer-Payment": tickets}
        async with session.get(TOKEN, headers=claimed) as answer:
            assert (answer.status, await answer.text()) == (200, "127.0.0.2 ")
        async with session.get(TOKEN, data=b"a body") as answer:
            assert (answer.status, await answer.text()) == (200, "127.0.0.2 a body")
        for path in ("/models", "/byoc/x/y", "//process/token", "/process/token/../../models", "/process%2ftoken"):
            async with session.get(URL(url + path, encoded=True)) as answer:
                assert answer.status in (400, 404)
