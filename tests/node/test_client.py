"""Calls to the node: what an answer is, what none means, and which certificate is believed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.model import Secret
from orchd.errors import Code
from orchd.node.client import BODY_BYTES, NodeClient
from orchd.node.ports import NodeAnswer, NodeError
from tests.advertise.rig import client_of, node, settings_for
from tests.doubles.golivepeer.node import Node

SECRET = "planted-7d13ab55"


def settings_of(url: str, **changes: object) -> OrchestratorSettings:
    return OrchestratorSettings.model_validate({"service_url": url, "call_timeout_s": 2.0, **changes})


def fingerprint_of(path: Path) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(path.read_text())).hexdigest()


async def refused(call: Awaitable[object]) -> NodeError:
    with pytest.raises(NodeError) as caught:
        await call
    assert caught.value.message.startswith("cannot ")
    return caught.value


@asynccontextmanager
async def scripted(
    handle: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve connections by `handle`; yields the base URL."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answering(text: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        writer.close()

    return handle


async def test_any_status_is_an_answer() -> None:
    async with node() as double, client_of(settings_for(double)) as client:
        registered = await client.service(
            "POST", "/capability/register", body=b'{"name": "a"}', authorization=client.secret
        )
        assert (registered.status, registered.body, registered.content_type) == (200, b"ok", "application/json")
        refusal = await client.service("POST", "/capability/register", body=b"{}", authorization=Secret("x"))
        assert (refusal.status, refusal.text()) == (400, "invalid authorization")
        assert (await client.service("GET", "/nothing")).status == 404


async def test_forms_reach_the_cli_port() -> None:
    async with node() as double, client_of(settings_for(double)) as client:
        form = {"broadcasterEthAddr": "0x" + "ab" * 20, "pricePerUnit": "7", "pixelsPerUnit": "1"}
        assert (await client.cli("POST", "/setPriceForBroadcaster", form=form)).status == 200
        prices = (await client.cli("GET", "/status")).json()["BroadcasterPrices"]
        assert prices["0x" + "ab" * 20] == "7"


async def test_without_a_cli_url_it_is_not_spoken_to() -> None:
    async with node() as double, client_of(settings_for(double, cli=False)) as client:
        assert (await refused(client.cli("GET", "/status"))).code is Code.NOT_SPOKEN


async def test_nobody_there() -> None:
    async with node() as double:
        settings = settings_for(double)
    async with client_of(settings) as client:
        error = await refused(client.service("GET", "/healthz"))
        assert error.code is Code.NODE_UNREACHABLE
        assert not error.dropped
        assert "connection refused" in error.message
        assert (await refused(client.fingerprint())).code is Code.NODE_UNREACHABLE


async def until_well(client: NodeClient) -> None:
    """Wait until the node answers in time; it may be late where much else runs."""
    while True:
        with contextlib.suppress(NodeError):
            if (await client.service("GET", "/healthz")).status == 200:
                return


async def test_a_hanging_node_ends_the_call() -> None:
    async with node() as double, client_of(settings_for(double, call_timeout_s=0.1)) as client:
        double.faults.hang(True)
        error = await refused(client.service("GET", "/healthz"))
        assert (error.code, error.dropped) == (Code.NODE_UNREACHABLE, False)
        assert "no answer within 0.1 s" in error.message
        double.faults.hang(False)
        await until_well(client)


async def test_a_connection_closed_without_an_answer_is_told_apart() -> None:
    """It means a currency problem at the node (docs/protocol/byoc.md, 2.2), also on a connection that was kept."""
    async with node() as double, client_of(settings_for(double)) as client:
        for _ in range(2):
            assert (await client.service("GET", "/healthz")).status == 200
            usd = b'{"name": "a", "currency": "USD"}'
            error = await refused(client.service("POST", "/capability/register", body=usd, authorization=client.secret))
            assert (error.code, error.dropped) == (Code.NODE_UNREACHABLE, True)


async def test_a_kept_connection_that_is_dead_does_not_count_as_dropped() -> None:
    """A restarted node has closed it just as the call went out: the call is made again."""
    served: list[int] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(served)
        served.append(0)
        while await reader.readuntil(b"\r\n\r\n"):
            served[number] += 1
            if number == 0 and served[number] == 2:
                break  # takes the request and dies
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    async def quietly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handle(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    async with scripted(quietly) as url, client_of(settings_of(url)) as client:
        assert (await client.service("POST", "/a")).status == 200
        assert (await client.service("POST", "/b")).status == 200
        assert served == [2, 1]


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (b"nonsense\r\n\r\n", Code.NODE_UNREACHABLE, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", Code.NODE_UNREACHABLE, "broke off"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (BODY_BYTES + 1) + b"x" * (BODY_BYTES + 1),
            Code.NODE_REFUSED,
            "longer than 4 MiB",
        ),
    ],
)
async def test_answers_that_are_none(text: bytes, code: Code, words: str) -> None:
    async with scripted(answering(text)) as url, client_of(settings_of(url)) as client:
        error = await refused(client.service("GET", "/"))
        assert error.code is code
        assert words in error.message


async def test_redirects_are_not_followed() -> None:
    text = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answering(text)) as url, client_of(settings_of(url)) as client:
        assert (await client.service("POST", "/a", body=b"x")).status == 307


def test_text_of_an_answer_is_one_short_line() -> None:
    answer = NodeAnswer(400, b" not\n\tthis\x00way \xff" + b"x" * 1000, "text/plain")
    assert answer.text().startswith("not this")
    assert len(answer.text()) == 300
    assert NodeAnswer(200, b"invalid authorization\n", "").text() == "invalid authorization"


def test_json_of_an_answer() -> None:
    assert NodeAnswer(200, b'{"a": [1]}', "").json() == {"a": [1]}
    with pytest.raises(NodeError, match="cannot read the node's answer") as caught:
        NodeAnswer(200, b"ok", "").json()
    assert caught.value.code is Code.NODE_REFUSED


async def test_no_secret_in_an_error() -> None:
    """Neither the one that was sent nor a path, which may be a credential."""
    async with node() as double:
        settings = settings_for(double)
    async with client_of(settings, SECRET) as client:
        for call in (
            client.service("POST", f"/{SECRET}", headers={"X": SECRET}, authorization=client.secret),
            client.service("GET", "/", headers={"X": f"{SECRET}\n"}),
            _read(client, Secret(f"https://elsewhere/ai/trickle/{SECRET}")),
            _read(client, Secret(f"https://elsewhere/{SECRET}")),
        ):
            error = await refused(call)
            assert SECRET not in error.message + repr(error)
            assert "***" not in error.message


async def _read(client: NodeClient, url: Secret) -> bytes:
    async with client.stream(url) as stream:
        return b"".join([piece async for piece in stream.pieces])


# Certificates.


async def test_auto_means_no_look_at_the_certificate_on_loopback() -> None:
    async with node() as double, client_of(settings_for(double)) as client:
        assert (await client.service("GET", "/healthz")).status == 200


async def test_auto_means_the_systems_authorities_elsewhere() -> None:
    async with node() as double:
        # Another name of the same listener.
        url = double.service_url.replace("127.0.0.1", "ip6-localhost.invalid")
        settings = settings_of(url)
    async with client_of(settings) as client:
        assert client._tls(f"{url}/") is True


async def test_ca_file_that_did_not_sign_it_is_not_enough(tmp_path: Path) -> None:
    async with node() as double, node() as other:
        path = tmp_path / "ca.pem"
        path.write_text(other.certificate_path.read_text())
        async with client_of(settings_for(double, certificate=f"ca:{path}")) as client:
            error = await refused(client.service("GET", "/healthz"))
            assert error.code is Code.NODE_CERTIFICATE
            assert "pin:/PATH" in error.message


@asynccontextmanager
async def pinned() -> AsyncIterator[tuple[Node, NodeClient]]:
    async with (
        node() as double,
        client_of(settings_for(double, certificate=f"pin:{double.certificate_path}")) as client,
    ):
        yield double, client


async def test_pinned_certificate_is_believed_also_after_a_restart() -> None:
    """The node writes the file anew at each start; it is read for each call."""
    async with pinned() as (double, client):
        assert (await client.service("GET", "/healthz")).status == 200
        await double.restart()
        assert (await client.service("GET", "/healthz")).status == 200


async def test_pinned_certificate_is_read_once_more_when_it_does_not_fit() -> None:
    """The node was started between our look at its file and the handshake."""
    async with pinned() as (double, client):
        read = client._tls
        looks = iter([read(double.service_url + "/")])
        double.change_certificate()
        client._tls = lambda url: next(looks, None) or read(url)  # type: ignore[method-assign]
        assert (await client.service("GET", "/healthz")).status == 200


async def test_another_certificate_than_the_pinned_one(tmp_path: Path) -> None:
    async with node() as double:
        path = tmp_path / "cert.pem"
        path.write_text(double.certificate_path.read_text())
        double.change_certificate()
        async with client_of(settings_for(double, certificate=f"pin:{path}")) as client:
            error = await refused(client.service("GET", "/healthz"))
            assert error.code is Code.NODE_CERTIFICATE
            assert "orchestrator.certificate" in error.message


@pytest.mark.parametrize(("text", "words"), [(None, "No such file"), ("no certificate", "PEM"), ("", "PEM")])
async def test_unusable_pin_file(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "cert.pem"
    if text is not None:
        path.write_text(text)
    async with node() as double, client_of(settings_for(double, certificate=f"pin:{path}")) as client:
        error = await refused(client.service("GET", "/healthz"))
        assert error.code is Code.NODE_CERTIFICATE
        assert words in error.message
        assert str(path) in error.message


async def test_fingerprint_is_the_certificates() -> None:
    async with node() as double, client_of(settings_for(double)) as client:
        first = await client.fingerprint()
        assert first == fingerprint_of(double.certificate_path)
        await double.restart()
        assert await client.fingerprint() == fingerprint_of(double.certificate_path) != first


async def test_plain_http_has_no_fingerprint() -> None:
    async with node(plain_http=True) as double, client_of(settings_for(double)) as client:
        assert await client.fingerprint() is None


# Trickle channels.


async def test_streams_come_from_the_service_port_whatever_host_the_url_names() -> None:
    """The node gives out its public name, which may not be reachable from here."""
    seen: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nLp-Trickle-Seq: 4\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in (b"one", b"two"):
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        writer.close()

    given = Secret("https://orch.example.com:8935/ai/trickle/a-o2r/4")
    async with (
        scripted(handle) as url,
        client_of(settings_of(url)) as client,
        client.stream(given) as stream,
    ):
        assert stream.status == 200
        assert stream.headers["lp-trickle-seq"] == "4"
        assert b"".join([piece async for piece in stream.pieces]) == b"onetwo"
    assert seen[0].startswith(b"GET /ai/trickle/a-o2r/4 HTTP/1.1\r\n")


async def test_a_stream_that_breaks_off_says_so() -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\none"
    async with scripted(answering(text)) as url, client_of(settings_of(url)) as client:
        error = await refused(_read(client, Secret(f"{url}/ai/trickle/a/0")))
        assert "broke off" in error.message


async def test_an_error_of_the_reader_is_not_the_nodes() -> None:
    text = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
    async with scripted(answering(text)) as url, client_of(settings_of(url)) as client:
        with pytest.raises(TimeoutError):
            async with client.stream(Secret(f"{url}/ai/trickle/a/0")):
                raise TimeoutError
