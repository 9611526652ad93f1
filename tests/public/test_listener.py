"""The listener for payers as a daemon has it, asked by real clients."""

from __future__ import annotations

import asyncio
import json
import re
import ssl
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from orchd.errors import Code, OrchdError, SettingsError
from orchd.public.tls import KEY
from tests.advertise.rig import until
from tests.public.rig import LOOPS, TOKEN, PublicDaemon, daemon, on

Loop = Callable[[], asyncio.AbstractEventLoop]
each_loop = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])


async def connect(of: PublicDaemon, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", of.port, ssl=context, server_hostname="localhost")


def told(of: PublicDaemon, name: str, **labels: str) -> float | None:
    """Return a sample of `/metrics`."""
    shown = ",".join(f'{label}="{value}"' for label, value in sorted(labels.items()))
    found = re.search(rf"^{re.escape(name + (f'{{{shown}}}' if shown else ''))} (\S+)$", of.metrics, re.MULTILINE)
    return float(found[1]) if found else None


@each_loop
def test_payers_get_what_its_doors_answer_by_tls_and_all_else_is_404(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with daemon(tmp_path) as public:
            status, text, headers = await public.ask(data=b"a body")
            assert (status, text) == (200, "127.0.0.1 a body")
            assert headers["Content-Type"] == "application/json"
            for path in ("/", "/models", "/healthz", "/metrics", "/byoc/x/y", "/live/x/y", "/status", f"/{TOKEN}"):
                status, text, headers = await public.ask(path)
                assert (status, json.loads(text)["error"]) == (404, "capability_not_served")
                assert headers["Livepeer-Error"] == "capability_not_served"
            public.app._context.metrics.render()
            assert told(public, "orchd_public_answers_total", door="token", route="token", **{"class": "2xx"}) == 1
            assert told(public, "orchd_public_not_found_total") == 8
            assert not re.search(r"^orchd_jobs_total\{.*\} [1-9]", public.metrics, re.MULTILINE)

    on(loop, run)


@each_loop
def test_clients_that_would_rather_have_http_2_fall_back_and_old_tls_is_refused(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with daemon(tmp_path) as public:
            context = public.client_context()
            context.set_alpn_protocols(["h2", "http/1.1"])
            _, writer = await connect(public, context)
            made = writer.get_extra_info("ssl_object")
            assert (made.selected_alpn_protocol(), made.version()) == ("http/1.1", "TLSv1.3")
            writer.close()
            await writer.wait_closed()
            old = public.client_context()
            old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
            old.set_ciphers("DEFAULT:@SECLEVEL=0")
            with pytest.raises((ssl.SSLError, ConnectionError)):
                await connect(public, old)
            failed = "orchd_public_handshakes_failed_total"
            await until("the handshake is counted", lambda: told(public, failed, reason="not_tls") == 1)

    with pytest.warns(DeprecationWarning, match="TLSv1"):
        on(loop, run)


@each_loop
def test_a_client_that_speaks_plain_http_is_closed_cleanly_and_counted(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with daemon(tmp_path) as public:
            reader, writer = await asyncio.open_connection("127.0.0.1", public.port)
            writer.write(b"GET /process/token HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            failed = "orchd_public_handshakes_failed_total"
            await until("it is counted", lambda: told(public, failed, reason="plain_http") == 1)
            assert (await public.ask())[0] == 200

    on(loop, run)


@each_loop
def test_the_last_answer_on_a_connection_ends_it_at_once_and_properly(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with daemon(tmp_path) as public:
            reader, writer = await connect(public, public.client_context())
            writer.write(b"GET /process/token HTTP/1.0\r\nHost: localhost\r\n\r\n")
            answer = await reader.read()  # To the end that TLS has told: a cut would raise.
            assert answer.endswith(b"127.0.0.1 ")
            writer.close()
            await writer.wait_closed()

    on(loop, run)


@each_loop
def test_an_answer_before_the_end_of_a_body_arrives_though_the_rest_is_never_read(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with daemon(tmp_path) as public:
            reader, writer = await connect(public, public.client_context())
            writer.write(b"POST /process/token HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            writer.write(b"800\r\n" + b"x" * 2048 + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 413 ")
            assert b"Connection: close" in head
            writer.transport.abort()

    on(loop, run)


@each_loop
def test_heads_of_128_kib_pass_here_and_longer_ones_are_told_by_which_setting(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with daemon(tmp_path) as public:
            for size, status in ((126, 200), (129, 431)):
                reader, writer = await connect(public, public.client_context())
                payment = b"x" * (size * 1024)
                writer.write(b"GET /process/token HTTP/1.1\r\nHost: h\r\nLivepeer-Payment: %b\r\n\r\n" % payment)
                head = await reader.readuntil(b"\r\n\r\n")
                assert int(head.split()[1]) == status
                if status == 431:
                    assert b"public.max_header_kb" in await reader.readuntil(b"}")
                writer.transport.abort()

    on(loop, run)


@each_loop
def test_only_trusted_proxies_say_who_asks(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        forwarded = {"X-Forwarded-For": "198.51.100.7, 203.0.113.9"}
        async with daemon(tmp_path, tls=False) as public:
            assert (await public.ask(tls=False, headers=forwarded))[1] == "127.0.0.1 "
        async with daemon(tmp_path, tls=False, trusted_proxies=["127.0.0.0/8"]) as public:
            assert (await public.ask(tls=False, headers=forwarded))[1] == "203.0.113.9 "

    on(loop, run)


@each_loop
def test_addresses_and_payers_that_ask_too_often_get_429_and_jobs_are_not_counted(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        rates: dict[str, Any] = {"address_rate": 1e-6, "address_burst": 3, "payer_rate": 1e-6, "payer_burst": 1}
        async with daemon(tmp_path, tls=False, **rates) as public:
            assert (await public.ask(tls=False, headers={"X-Payer": "0xa"}))[0] == 200
            status, text, headers = await public.ask(tls=False, headers={"X-Payer": "0xa"})
            assert (status, json.loads(text)["error"]) == (429, Code.RATE_LIMITED)
            assert int(headers["Retry-After"]) > 1000
            assert (await public.ask(tls=False, headers={"X-Payer": "0xb"}))[0] == 200
            assert (await public.ask(tls=False))[0] == 429
            assert (await public.ask("/elsewhere", tls=False))[0] == 404
            limited = "orchd_public_rate_limited_total"
            assert (told(public, limited, by="payer"), told(public, limited, by="address")) == (1, 1)

    on(loop, run)


@each_loop
def test_more_connections_than_its_share_get_503_and_take_nothing_of_the_private_one(
    loop: Loop, tmp_path: Path
) -> None:
    async def run() -> None:
        async with daemon(tmp_path, max_connections=1) as public:
            context = public.client_context()
            _, first = await connect(public, context)
            reader, second = await connect(public, context)
            second.write(b"GET /process/token HTTP/1.1\r\nHost: h\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 503 ")
            assert b"public.max_connections" in await reader.readline()
            assert told(public, "orchd_connections", side="public") == 2
            assert told(public, "orchd_connections", side="caller") == 0
            private = public.app.snapshot().jobs_listen[0]
            async with aiohttp.ClientSession() as session, session.get(f"http://{private}/models/x/y") as answer:
                assert answer.status == 404
            for each in (first, second):
                each.transport.abort()

    on(loop, run)


@each_loop
def test_an_address_with_too_many_connections_gets_no_handshake_and_later_gets_one(loop: Loop, tmp_path: Path) -> None:
    async def run() -> None:
        async with daemon(tmp_path, max_connections_per_address=2) as public:
            context, refused = public.client_context(), "orchd_public_connections_refused_total"
            _, first = await connect(public, context)
            _, silent = await asyncio.open_connection("127.0.0.1", public.port)  # Its handshake counts, too.
            with pytest.raises((ConnectionError, ssl.SSLError)):
                await connect(public, context)
            assert (told(public, refused), told(public, "orchd_connections", side="public")) == (1, 1)
            silent.transport.abort()
            await until("its place is free", lambda: handshakes_left(public) == 1)
            assert (await public.ask())[0] == 200
            first.transport.abort()
            await until("all are gone", lambda: told(public, "orchd_connections", side="public") == 0)
            assert (await public.ask())[0] == 200
            assert told(public, refused) == 1

    def handshakes_left(public: PublicDaemon) -> float | None:
        return told(public, "orchd_public_handshakes_failed_total", reason="left")

    on(loop, run)


@each_loop
def test_without_tls_a_connection_too_many_is_closed_unless_it_is_a_trusted_proxys(loop: Loop, tmp_path: Path) -> None:
    async def opened(public: PublicDaemon) -> list[bytes]:
        """Return what of three connections is read before the first of them ends."""
        made = [await asyncio.open_connection("127.0.0.1", public.port) for _ in range(3)]
        answers = []
        for reader, writer in made:
            with suppress(ConnectionError):
                writer.write(f"GET {TOKEN} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
                answers.append(await reader.read(12))
        for _, writer in made:
            writer.transport.abort()
        return [each for each in answers if each]

    async def run() -> None:
        async with daemon(tmp_path, tls=False, max_connections_per_address=2) as public:
            assert await opened(public) == [b"HTTP/1.1 200"] * 2
            assert told(public, "orchd_public_connections_refused_total") == 1
            await until("all are gone", lambda: told(public, "orchd_connections", side="public") == 0)
            assert (await public.ask(tls=False))[0] == 200
        proxies = ["127.0.0.0/8"]
        async with daemon(tmp_path, tls=False, max_connections_per_address=2, trusted_proxies=proxies) as public:
            assert await opened(public) == [b"HTTP/1.1 200"] * 3

    on(loop, run)


async def test_below_a_base_path_alone_is_anything_served(tmp_path: Path) -> None:
    async with daemon(tmp_path, tls=False, base_path="/ai") as public:
        assert (await public.ask(f"/ai{TOKEN}", tls=False))[0] == 200
        assert (await public.ask(TOKEN, tls=False))[0] == 404


async def test_a_listener_without_doors_answers_404_to_all(tmp_path: Path) -> None:
    async with daemon(tmp_path, tls=False, doors=[]) as public:
        assert (await public.ask(TOKEN, tls=False))[0] == 404


async def test_its_own_certificate_is_made_once_for_the_host_of_the_url(tmp_path: Path) -> None:
    async with daemon(tmp_path) as public:
        first = public.own_certificate.read_bytes()
        assert stat.S_IMODE(public.own_certificate.with_name(KEY).stat().st_mode) == 0o600
        assert stat.S_IMODE(public.own_certificate.parent.stat().st_mode) == 0o700
    async with daemon(tmp_path) as public:
        assert public.own_certificate.read_bytes() == first
        assert (await public.ask())[0] == 200
    async with daemon(tmp_path, url="https://127.0.0.1:8443") as public:
        assert public.own_certificate.read_bytes() != first
        _, writer = await asyncio.open_connection("127.0.0.1", public.port, ssl=public.client_context())
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": ""}, "cannot use public.doors: payers would be told no address"),
        ({"certificate": "/nowhere/cert.pem"}, "cannot use public.certificate: its key is missing"),
        ({"key": "/nowhere/key.pem"}, "cannot use public.key: its certificate is missing"),
        (
            {"certificate": "/nowhere/c.pem", "key": "/nowhere/k.pem"},
            "public.certificate = /nowhere/c.pem: No such file",
        ),
    ],
)
async def test_settings_that_contradict_each_other_are_told_and_nothing_starts(
    given: dict[str, Any], said: str, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=re.escape(said)):
        async with daemon(tmp_path, **given):
            raise AssertionError


async def test_a_taken_port_is_found_before_anything_starts(tmp_path: Path) -> None:
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    with pytest.raises(OrchdError, match=r"choose another address with --public-listen") as caught:
        async with daemon(tmp_path, listen=[f"127.0.0.1:{port}"]):
            raise AssertionError
    assert caught.value.code is Code.ADDRESS_IN_USE
    taken.close()
    await taken.wait_closed()
