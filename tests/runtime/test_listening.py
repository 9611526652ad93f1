"""Why nobody answers on a runner's port, though it runs."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import Address
from orchd.domain.model import Model, StopSpec
from orchd.domain.ports import Runtime
from orchd.runtime import listening
from orchd.runtime.listening import of_container, of_process, of_tree, parse, read_tables
from orchd.runtime.process.runtime import ProcessRuntime
from orchd.runtime.process.settings import ProcessSettings
from orchd.tcp_listeners import Listener
from tests.runners.local import BOUND_S
from tests.runtime.bench import Bench
from tests.runtime.process_models import RUNNER, scripted_model

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def line(address: str, state: str = "0A", inode: str = "77") -> str:
    return f"   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1 0\n"


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("0100007F:1F40", Listener("127.0.0.1", 8000, "77")),
        ("00000000:1F90", Listener("0.0.0.0", 8080, "77")),
        ("00000000000000000000000000000000:1F40", Listener("::", 8000, "77")),
        ("00000000000000000000000001000000:1F40", Listener("::1", 8000, "77")),
        ("0000000000000000FFFF00000100007F:1F40", Listener("::ffff:127.0.0.1", 8000, "77")),
        ("0B00007F:9C41", None),
        ("nonsense", None),
        ("01:1F40", None),
    ],
)
def test_a_line_of_the_kernels_table(address: str, found: Listener | None) -> None:
    assert parse(HEAD + line(address)) == ([found._replace(uid=0)] if found else [])
    assert parse(HEAD + line(address, state="01")) == [], "it does not listen"


@given(st.text(max_size=200) | st.builds(line, st.text(alphabet="0123456789ABCDEF:", max_size=40)))
def test_any_text_is_read(text: str) -> None:
    for listener in parse(text):
        assert isinstance(listener.loopback, bool)


def test_the_kernels_own_table_shows_who_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("0.0.0.0", 0)) as two:
        found = {(each.address, each.port): each.loopback for each in read_tables(os.getpid()) or ()}
        mine = {(each.address, each.port) for each in of_tree(os.getpid())}
        assert found[one.getsockname()] is True
        assert found[two.getsockname()] is False
        assert {one.getsockname(), two.getsockname()} <= mine
    assert read_tables(2**30) is None


LOOPBACK, OPEN, OTHER = Listener("127.0.0.1", 8080), Listener("0.0.0.0", 8080), Listener("0.0.0.0", 8188)


@pytest.mark.parametrize(
    ("listeners", "exposed", "words"),
    [
        ([LOOPBACK], (), ("listens on 127.0.0.1:8080 only", "0.0.0.0")),
        ([Listener("::1", 8080), LOOPBACK], (8000,), ("127.0.0.1:8080, [::1]:8080 only",)),
        ([Listener("::ffff:127.0.0.1", 8080)], (), ("only", "0.0.0.0")),
        ([OPEN], (8000,), ()),
        ([LOOPBACK, OPEN], (8000,), ()),
        ([OTHER], (), ("0.0.0.0:8188 is listened on, and not port 8080", 'set "port": 8188')),
        ([OTHER], (8188,), ("its image EXPOSEs 8188", 'set "port": 8188')),
        ([Listener("127.0.0.1", 9)], (), ("127.0.0.1:9 is listened on", "have it listen on 0.0.0.0:8080")),
        ([], (8000,), ("its image EXPOSEs 8000: the entry's port is 8080", 'is "port": 8000 meant?')),
        (None, (8000, 9000), ("its image EXPOSEs 8000, 9000", 'is "port": 8000 meant?')),
        ([], (8080,), ()),
        (None, (), ()),
    ],
)
def test_what_is_said_of_a_container(
    listeners: list[Listener] | None, exposed: tuple[int, ...], words: tuple[str, ...]
) -> None:
    said = of_container(8080, listeners, exposed)
    assert all(word in said for word in words), said
    assert bool(said) is bool(words)
    assert "\n" not in said


def test_what_is_said_of_a_process() -> None:
    assert of_process(8080, []) == of_process(8080, [LOOPBACK]) == ""
    assert "it listens on 0.0.0.0:8188, and not on the port 8080 that it was given" in of_process(8080, [OTHER])


SERVES = """python3 -c '
import http.server
http.server.ThreadingHTTPServer(("{host}", {port}), http.server.SimpleHTTPRequestHandler).serve_forever()
'"""


async def until_said(runtime: Runtime, handle: str, wanted: Model, address: Address) -> str:
    """Return the first hint that there is."""
    async with asyncio.timeout(BOUND_S):
        while not (said := await runtime.why_unreachable(handle, wanted, address)):  # noqa: ASYNC110 - it starts
            await asyncio.sleep(0.02)
    return said


@pytest.mark.docker
async def test_containers_that_listen_where_nobody_reaches_them(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """From outside, by the host's `/proc`, and where that shows nothing, by asking inside."""

    async def said(host: str, listens: int, port: int, words: str) -> None:
        serves = SERVES.format(host=host, port=listens)
        wanted = bench.model(f"org/{host}-{port}", port=port, entrypoint=("sh", "-c"), args=(serves,))
        handle = await bench.prepare(wanted)
        address = await bench.runtime.start(handle)
        async with asyncio.timeout(BOUND_S):
            while words not in await until_said(bench.runtime, handle, wanted, address):  # noqa: ASYNC110 - it starts
                await asyncio.sleep(0.02)
        with monkeypatch.context() as blind:
            blind.setattr(listening, "is_of_container", lambda pid, container: False)
            assert words in await bench.runtime.why_unreachable(handle, wanted, address)
        await bench.runtime.stop(handle, StopSpec(grace_s=0.1))
        assert await bench.runtime.why_unreachable(handle, wanted, address) == ""

    await said("127.0.0.1", 8000, 8000, "its server listens on 127.0.0.1:8000 only")
    said_so = "0.0.0.0:8000 is listened on, and not port 8080, and its image EXPOSEs 8000: the entry's port is 8080"
    await said("0.0.0.0", 8000, 8080, said_so)


async def test_a_process_that_does_not_take_the_port_it_is_given(tmp_path: Path) -> None:
    runtime = ProcessRuntime(ProcessSettings(), instance="t-listening", state_dir=tmp_path)
    await runtime.open()
    code = "import http.server as s; s.HTTPServer(('127.0.0.1', 0), s.SimpleHTTPRequestHandler).serve_forever()"
    wanted = scripted_model("sh", "-c", f'{sys.executable} -c "{code}"; true')
    try:
        handle = await runtime.prepare(wanted, RUNNER, lambda text: None)
        address: Address = await runtime.start(handle)
        said = await until_said(runtime, handle, wanted, address)
        assert f"and not on the port {address.port} that it was given" in said
        await runtime.stop(handle, StopSpec(grace_s=5))
        assert await runtime.why_unreachable(handle, wanted, address) == ""
    finally:
        await runtime.close()
