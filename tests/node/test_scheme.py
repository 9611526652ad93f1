"""By which scheme the node is asked: what is written, or what answers; and never a secret in clear over a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from structlog.testing import capture_logs

from orchd.node.address import bases, is_as_written, scheme_advice
from orchd.node.ports import NodeError
from orchd.node.settings import check_service_url
from tests.advertise.rig import client_of, livepeer_node, node, settings_for, until
from tests.node.test_watch import watching


@pytest.mark.parametrize(
    ("written", "tried"),
    [
        ("127.0.0.1:8935", ("https://127.0.0.1:8935", "http://127.0.0.1:8935")),
        ("localhost:8935/base", ("https://localhost:8935/base", "http://localhost:8935/base")),
        ("[::1]:8935", ("https://[::1]:8935", "http://[::1]:8935")),
        ("http://127.0.0.1:8935", ("http://127.0.0.1:8935", "https://127.0.0.1:8935")),
        ("https://127.0.0.1:8935", ("https://127.0.0.1:8935", "http://127.0.0.1:8935")),
        ("node.example:8935", ("https://node.example:8935",)),
        ("10.0.0.7:8935", ("https://10.0.0.7:8935",)),
        ("http://10.0.0.7:8935", ("http://10.0.0.7:8935",)),
        ("https://node.example", ("https://node.example",)),
        ("localhost.example:1", ("https://localhost.example:1",)),
    ],
)
def test_which_urls_are_tried(written: str, tried: tuple[str, ...]) -> None:
    assert bases(check_service_url(written)) == tried


@pytest.mark.parametrize(
    "written", ["ftp://x", "127.0.0.1:8935?x=1", "user@host:1", ":8935", "/path", "http://", "a b://c"]
)
def test_what_is_no_url_is_refused(written: str) -> None:
    with pytest.raises(ValueError, match="it should be empty, or"):
        check_service_url(written)


def test_a_setting_without_a_scheme_is_met_by_both() -> None:
    assert check_service_url("") == ""
    assert check_service_url("127.0.0.1:8935/") == "127.0.0.1:8935"
    assert is_as_written("http://127.0.0.1:8935", "127.0.0.1:8935")
    assert is_as_written("http://127.0.0.1:8935", "http://127.0.0.1:8935")
    assert not is_as_written("http://127.0.0.1:8935", "https://127.0.0.1:8935")


def test_the_secret_goes_in_clear_over_a_network_only_if_that_is_written() -> None:
    said = scheme_advice("https://10.0.0.7:8935", "orchestrator.service_url", "10.0.0.7:8935")
    assert "in clear unless you write http:// in orchestrator.service_url" in said


@pytest.mark.parametrize("written", ["", "http://", "https://"])
@pytest.mark.parametrize("plain", [False, True])
async def test_on_loopback_the_node_is_found_by_either_scheme(written: str, plain: bool) -> None:
    async with node(plain_http=plain) as double:
        url = written + double.service_url.partition("://")[2]
        with capture_logs() as logs:
            async with watching(double, service_url=url) as (listings, _):
                await until("it is up", lambda: listings.node.up)
                assert listings.node.epoch == 1
        changes = [line for line in logs if line["event"] == "node_scheme_changed"]
        as_tried = double.service_url == bases(url)[0]
        assert [line["log_level"] for line in changes] == ([] if as_tried else ["warning" if written else "info"])
        assert all(line["url"] == double.service_url for line in changes)


async def test_a_node_that_is_replaced_by_one_without_tls_is_found_again() -> None:
    """go-livepeer makes room for Livepeer Node on the same port; the other way round too."""
    async with node(use_live_runners=True) as first:
        address = first.service_url.removeprefix("https://")
        async with watching(first, cli=False, service_url=address) as (listings, _):
            await until("it is up", lambda: listings.node.up)
            await first.stop()
            async with livepeer_node(listen=address):
                await until("the other program is seen", lambda: listings.node.program == "livepeer-node")
                await until("it is up", lambda: listings.node.up)
            await first.start()
            await until("the first is seen again", lambda: listings.node.program == "go-livepeer")
            assert listings.node.epoch == 3


@pytest.mark.parametrize(
    ("written", "plain", "advice"), [("https", True, "write http://"), ("http", False, "write https://")]
)
async def test_a_wrong_scheme_is_named(written: str, plain: bool, advice: str) -> None:
    """Here on the CLI port's name too, whose scheme is never changed."""
    async with node(plain_http=plain) as double:
        url = f"{written}://{double.service_url.partition('://')[2]}"
        async with client_of(settings_for(double, service_url=url, cli_url=url + "/cli")) as client:
            for call, setting in (
                (client.service("GET", "/healthz"), "orchestrator.service_url"),
                (client.cli("GET", "/status"), "orchestrator.cli_url"),
            ):
                with pytest.raises(NodeError) as caught:
                    await call
                if plain or not caught.value.dropped:  # Python's TLS closes the connection without a word.
                    assert caught.value.wrong_scheme
                    assert f"{advice} in {setting}" in caught.value.message


@asynccontextmanager
async def _saying(answer: bytes) -> AsyncIterator[str]:
    """Serve one answer to whatever comes."""

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(answered, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n",
        b"HTTP/1.0 400 Bad Request\r\n\r\n<center>The plain HTTP request was sent to HTTPS port</center>",
        b"\x15\x03\x01\x00\x02\x02\x46",
    ],
    ids=["Go", "nginx", "an alert"],
)
async def test_plain_http_on_a_port_with_tls_is_named(answer: bytes) -> None:
    """Go's words are a 400 in plain text, as go-livepeer's refusal of the probe is."""
    async with node() as double, _saying(answer) as url, client_of(settings_for(double, service_url=url)) as client:
        with pytest.raises(NodeError, match=r"it speaks TLS.*write https:// in orchestrator\.service_url") as caught:
            await client.service("POST", "/runners/heartbeat", body=b"{}")
        assert caught.value.wrong_scheme
