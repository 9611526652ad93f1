"""A certificate is taken over when its files change, and never for a worse one."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchd.history.ports import Kind
from orchd.lag import LoopLag
from orchd.public.certificate import LIFE_DAYS, Certificate, make_certificate, read_certificate
from orchd.public.tls import CertificateWatch, PublicTls, read_files
from orchd.tasks import cancel, spawn
from tests.fakes.history import FakeHistory
from tests.public.rig import TOKEN, daemon
from tests.virtual_time import virtual_time

BEGAN = 1_790_000_000.0
ENDS = BEGAN + (LIFE_DAYS - 1) * 86400
ONE, TWO = (read_certificate(*make_certificate(host, BEGAN)) for host in ("one.test", "two.test"))


class Watched:
    """Attributes:
    shows: what reading the files brings.
    now: Unix time.
    """

    def __init__(self, *, own: bool = False) -> None:
        self.shows: Certificate | Exception = ONE
        self.now = BEGAN
        self.history = FakeHistory()
        self.tls = PublicTls(ONE, lambda why: None, LoopLag())
        read = None if own else self._read
        self.watch = CertificateWatch(self.tls, self.history, read, 30.0, lambda: self.now)

    async def _read(self) -> Certificate:
        if isinstance(self.shows, Exception):
            raise self.shows
        return self.shows


@virtual_time
async def test_a_new_certificate_is_shown_to_new_connections_and_told_of() -> None:
    watched = Watched()
    task = spawn(watched.watch.run(), name="watch")
    await asyncio.sleep(100)
    before = watched.tls.context
    assert watched.history.kinds() == []
    watched.shows = TWO
    await asyncio.sleep(31)
    assert watched.tls.certificate is TWO
    assert watched.tls.context is not before
    assert [(each.kind, each.why) for each in watched.history.noted] == [
        (Kind.CERTIFICATE_CHANGED, "public.certificate is for two.test, and is good for 3649d")
    ]
    await cancel(task)


@pytest.mark.parametrize("why", [ValueError("/x/key.pem: No such file"), TimeoutError()])
def test_files_that_can_t_be_used_leave_the_one_before_in_use_and_are_told_of_once(why: Exception) -> None:
    @virtual_time
    async def run() -> None:
        watched = Watched()
        task = spawn(watched.watch.run(), name="watch")
        watched.shows = why
        with capture_logs() as logs:
            await asyncio.sleep(200)
        assert watched.tls.certificate is ONE
        assert watched.history.kinds() == [Kind.CERTIFICATE_REFUSED]
        assert [each["event"] for each in logs] == ["certificate_refused"]
        assert watched.watch.trouble == (str(why) or "its file system does not answer")
        watched.shows = ONE
        await asyncio.sleep(31)
        assert watched.watch.trouble == ""
        await cancel(task)

    run()


@virtual_time
async def test_one_that_expires_soon_is_told_of_once_and_its_successor_again() -> None:
    watched = Watched()
    task = spawn(watched.watch.run(), name="watch")
    await asyncio.sleep(100)
    watched.now = ENDS - 13.5 * 86400
    await asyncio.sleep(100)
    assert [each.why for each in watched.history.noted] == [
        "the certificate of public.listen is good for 13d: renew it"
    ]
    watched.shows, watched.now = TWO, ENDS + 3600
    await asyncio.sleep(100)
    assert watched.history.kinds()[1:] == [Kind.CERTIFICATE_CHANGED, Kind.CERTIFICATE_EXPIRES]
    assert watched.history.noted[-1].why == "the certificate of public.listen has expired 1h ago: renew it"
    await cancel(task)


@virtual_time
async def test_orchds_own_is_not_read_again_and_told_of_before_it_ends() -> None:
    watched = Watched(own=True)
    watched.shows, watched.now = AssertionError("nobody reads it"), ENDS - 86400
    task = spawn(watched.watch.run(), name="watch")
    await asyncio.sleep(100)
    assert watched.history.kinds() == [Kind.CERTIFICATE_EXPIRES]
    await cancel(task)


def write(folder: Path, certificate: Certificate) -> tuple[Path, Path]:
    """Replace both files, as programs that renew certificates do."""
    paths = folder / "chain.pem", folder / "key.pem"
    for path, text in zip(paths, (certificate.chain, certificate.key), strict=True):
        draft = path.with_suffix(".new")
        draft.write_bytes(text)
        draft.replace(path)
    return paths


def test_between_two_replaced_files_the_pair_does_not_fit_and_is_not_taken(tmp_path: Path) -> None:
    chain, key = write(tmp_path, ONE)
    assert read_files(chain, key) == ONE
    chain.write_bytes(TWO.chain)
    with pytest.raises(ValueError, match="the key is not that of the certificate"):
        read_files(chain, key)
    key.write_bytes(TWO.key)
    assert read_files(chain, key) == TWO


def test_a_file_that_can_t_be_read_is_named_with_its_setting(tmp_path: Path) -> None:
    chain, _ = write(tmp_path, ONE)
    with pytest.raises(ValueError, match=rf"public\.certificate = {tmp_path}/no.pem: No such file"):
        read_files(tmp_path / "no.pem", tmp_path / "no.key")
    with pytest.raises(ValueError, match=rf"public\.key = {tmp_path}/no.key: No such file"):
        read_files(chain, tmp_path / "no.key")


async def test_a_daemon_shows_the_new_certificate_without_a_restart_and_keeps_its_connections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (read_certificate(*make_certificate("localhost", BEGAN)) for _ in range(2))
    chain, key = write(tmp_path, first)
    async with daemon(tmp_path, certificate=str(chain), key=str(key)) as public:
        context = public.client_context(chain)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", public.port, ssl=context, server_hostname="localhost"
        )
        write(tmp_path, second)
        await public.watch.look()
        writer.write(f"GET {TOKEN} HTTP/1.0\r\nHost: h\r\n\r\n".encode())
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection("127.0.0.1", public.port, ssl=context, server_hostname="localhost")
        new = public.client_context(chain)
        _, writer = await asyncio.open_connection("127.0.0.1", public.port, ssl=new, server_hostname="localhost")
        writer.close()
        await writer.wait_closed()
