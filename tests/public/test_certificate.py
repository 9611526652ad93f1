"""Certificates: what is read of one, which can't be used and why, and the one that orchd makes."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchd.public.certificate import LIFE_DAYS, make_certificate, read_certificate
from orchd.public.tls import context_of

NOW = 1_790_000_000.0
CHAIN, KEY = make_certificate("ai.example.org", NOW)


def test_what_orchd_makes_is_for_its_host_alone_and_lives_long() -> None:
    made = read_certificate(CHAIN, KEY)
    assert made.names == ("ai.example.org",)
    assert made.self_signed
    assert made.begins_at < NOW < made.expires_at == made.begins_at + LIFE_DAYS * 86400
    assert made.covers("ai.example.org")
    assert not made.covers("x.ai.example.org")
    assert b"PRIVATE" not in repr(made).encode()


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "a" * 63 + ".example.org"])
def test_it_can_be_for_an_address_and_for_a_long_name(host: str) -> None:
    chain, key = make_certificate(host, NOW)
    assert read_certificate(chain, key).covers(host)
    context_of(read_certificate(chain, key))


def test_a_wildcard_stands_for_one_label(needs: Callable[[str], str], tmp_path: Path) -> None:
    made = read_certificate(*issued(needs("openssl"), tmp_path, "DNS:*.Example.org,IP:192.0.2.7"))
    assert made.covers("ai.example.org")
    assert made.covers("192.0.2.7")
    assert not made.covers("example.org")
    assert not made.covers("a.b.example.org")
    assert not made.covers("org")


@pytest.mark.parametrize(
    ("chain", "key", "said"),
    [
        (b"", KEY, "the certificate is not PEM"),
        (b"\xff" * 100, KEY, "the certificate is not PEM"),
        (KEY, KEY, "the certificate is not PEM"),
        (CHAIN, b"", "the key is not PEM"),
        (CHAIN, CHAIN, "the key is not PEM"),
        (CHAIN, make_certificate("other", NOW)[1], "the key is not that of the certificate"),
    ],
)
def test_what_can_t_be_used_is_said_in_words_without_the_key(chain: bytes, key: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        read_certificate(chain, key)
    assert "PRIVATE KEY-----\n" not in str(caught.value)


def test_a_key_with_a_passphrase_is_refused_and_nobody_is_asked(needs: Callable[[str], str], tmp_path: Path) -> None:
    chain, key = issued(needs("openssl"), tmp_path, "DNS:h", "-passout", "pass:s3cret", encrypted=True)
    with pytest.raises(ValueError, match="passphrase"):
        read_certificate(chain, key)


def test_keys_of_rsa_do_as_well(needs: Callable[[str], str], tmp_path: Path) -> None:
    chain, key = issued(needs("openssl"), tmp_path, "DNS:h", kind=("-newkey", "rsa:2048"))
    context = context_of(read_certificate(chain, key))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def issued(
    openssl: str,
    folder: Path,
    names: str,
    *more: str,
    encrypted: bool = False,
    kind: tuple[str, ...] = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
) -> tuple[bytes, bytes]:
    """Return certificate and key that openssl has made."""
    chain, key = folder / "chain.pem", folder / "key.pem"
    plain = () if encrypted else ("-nodes",)
    files = ("-keyout", str(key), "-out", str(chain), "-subj", "/CN=x", "-addext", f"subjectAltName={names}")
    command = [openssl, "req", "-x509", *kind, *plain, "-days", "2", *files, *more]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return chain.read_bytes(), key.read_bytes()
