"""Answers that llhttp refuses and RFC 9112 allows: the same length, given several times. Pure."""

from __future__ import annotations

import re

LENGTH_NAME = re.compile(rb"\r\n(?i:content-length):")


def with_one_length(raw: bytes) -> bytes | None:
    """Return the head of an answer in which the same length, given several times, is given once (RFC 9112, section
    6.3); None = that is not what is wrong with it.
    """
    kept: list[bytes] = []
    lengths: list[bytes] = []
    for line in raw.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") or b"\n" in line or b"\r" in line:
            return None
        name, _, value = line.partition(b":")
        if name.lower() != b"content-length":
            kept.append(line)
            continue
        if not lengths:
            kept.append(line)
        lengths += [member.strip(b" \t") for member in value.split(b",")]
    if len(lengths) < 2 or len(set(lengths)) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
        return None
    return b"\r\n".join(
        b"Content-Length: " + lengths[0] if line[:15].lower() == b"content-length:" else line for line in kept
    )
