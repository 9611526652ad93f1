"""Programs that people check a TLS server with get what they should."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from tests.public.rig import TOKEN, daemon


async def said(*command: str, to: bytes = b"") -> str:
    """Return what a program prints."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate(to)
    return output.decode()


async def test_curl_trusts_the_certificate_and_falls_back_from_http_2(
    needs: Callable[[str], str], tmp_path: Path
) -> None:
    async with daemon(tmp_path) as public:
        url = f"https://localhost:{public.port}{TOKEN}"
        asked = ("-sS", "--http2", "--noproxy", "*", "-d", "a body", "-w", " %{http_version} %{http_code}", url)
        trusting = ("--cacert", str(public.own_certificate))
        assert await said(needs("curl"), *trusting, *asked) == "127.0.0.1 a body 1.1 200"
        assert "certificate" in await said(needs("curl"), *asked), "one that does not know it refuses it"


async def test_openssl_sees_tls_1_2_and_1_3_with_http_1_1_alone(needs: Callable[[str], str], tmp_path: Path) -> None:
    request = f"GET {TOKEN} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
    async with daemon(tmp_path) as public:
        for flag, name in (("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
            client = (needs("openssl"), "s_client", "-connect", f"127.0.0.1:{public.port}", "-alpn", "h2,http/1.1")
            trusting = ("-CAfile", str(public.own_certificate), "-verify_hostname", "localhost", "-ign_eof")
            output = await said(*client, *trusting, flag, to=request)
            assert f"New, {name}" in output
            assert "ALPN protocol: http/1.1" in output
            assert "Verify return code: 0 (ok)" in output
            assert "HTTP/1.1 200 OK" in output
            assert "unexpected eof" not in output
