"""Words for what the system and libraries raise, and that nobody shows those raw."""

from __future__ import annotations

import ast
import contextlib
import errno
import os
import socket
import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import orchd
from orchd.reasons import LONGEST, OURS, is_ours, one_line, why
from tests.health.failing import Authority

ROOT = Path(orchd.__file__).parent
RAISED_BY_OTHERS = {"OSError", "ClientError", "SSLError", "ConnectionError", "SSLCertVerificationError", "gaierror"}


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_error_of_the_system_has_words(number: int) -> None:
    said = why(OSError(number, "whatever", "/a/file"))
    assert said
    assert "Errno" not in said
    assert is_ours(OSError(number, "x")) is (number in OURS)


def test_a_tls_error_is_no_error_of_the_system() -> None:
    """Its number is one of OpenSSL's: 1 is no lack of permission."""
    said = why(ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:992)"))
    assert os.strerror(1) not in said
    assert not is_ours(ssl.SSLError(errno.ENOMEM, "x"))


def test_a_certificate_that_only_newer_pythons_refuse_is_told_what_it_lacks(tmp_path: Path) -> None:
    authority = Authority.make("home", tmp_path)
    server_side = authority.issue("plain", "127.0.0.1", key_id=False)
    client_side = authority.trust(ssl.create_default_context())
    client_side.verify_flags |= ssl.VERIFY_X509_STRICT  # as Python 3.13 has it by itself
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    client = client_side.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    for end in (client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError) as refused:
        client.do_handshake()
    said = why(refused.value)
    assert "its certificate can't be trusted: it lacks an Authority Key Identifier" in said
    assert "Python 3.13" in said


@pytest.mark.parametrize("number", [socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_FAIL])
def test_an_error_of_the_name_service_is_in_its_words(number: int) -> None:
    assert why(socket.gaierror(number, "Name or service not known")) == "Name or service not known"


@given(st.text(max_size=2000) | st.text(alphabet="\ud800\udfff\x00\n\x1b\u202e a", max_size=50))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    for said in (one_line(text), why(ValueError(text)), why(TimeoutError(text)), why(OSError(text))):
        assert len(said) <= LONGEST
        assert said.isprintable()
        said.encode()


def _names(handler: ast.ExceptHandler) -> set[str]:
    types = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return {each.attr if isinstance(each, ast.Attribute) else getattr(each, "id", "") for each in types}


def _shown_raw(handler: ast.ExceptHandler) -> list[int]:
    """Return the lines in which the exception itself is made text."""
    lines = []
    for node in ast.walk(ast.Module(handler.body, [])):
        is_str = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("str", "repr")
        shown = node.args if is_str and isinstance(node, ast.Call) else []
        if isinstance(node, ast.FormattedValue):
            shown = [node.value]
        lines += [each.lineno for each in shown if isinstance(each, ast.Name) and each.id == handler.name]
    return lines


def test_nobody_shows_an_error_of_the_system_or_of_a_library_as_it_is() -> None:
    """By `reasons.why`, `http_client.why` or `errors.reason_of`, which leave out what no operator can use."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler) and node.name and _names(node) & RAISED_BY_OTHERS:
                found += [f"{path.relative_to(ROOT)}:{line}" for line in _shown_raw(node)]
    assert found == []
