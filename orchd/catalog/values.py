"""Readers of single values: what the operator wrote -> what orchd works with. Pure.

Each takes a JSON value (numbers are int or Decimal) and returns ours, or raises ValueError with what was expected, in
words that go on from "cannot use ...: ". They never repeat the value itself: that is left to whoever knows whether it
may be shown. Values that another check will refuse anyway are handed on as they are.
"""

from __future__ import annotations

import ipaddress
import re
import signal
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

from orchd.catalog.names import nearest
from orchd.catalog.profiles import PROFILES
from orchd.domain.ids import Address
from orchd.domain.model import GpuRequest, Secret

_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,6})?)\s*([bkmgt]?)i?b?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_PRICE = re.compile(r"-?\d{1,60}(?:\.\d{1,60})?(?:[eE][+-]?\d{1,2})?")
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}")
_ENV_NAME = re.compile(r"[^=\s]+")
_VOLUME = re.compile(r"([^:]+):(/[^:]*)(?::([a-zA-Z,]+))?")
_TOKEN = re.compile(r"[\x21-\x7e]+")

MIN_MEMORY = 6 * 2**20
"""Docker refuses to run with less."""


def whole(value: Any) -> Any:
    """Take `1e6` and `2.0` for the whole numbers that they are."""
    if isinstance(value, Decimal) and value == value.to_integral_value():
        return int(value)
    return value


def number(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def price(value: Any) -> Fraction:
    """Exact; a numeric text counts too (go-livepeer refuses it: see `golivepeer`)."""
    expected = ValueError("it should be a number, such as 0.005, and not negative")
    if isinstance(value, str):
        if not _PRICE.fullmatch(value):
            raise expected
        try:
            value = Decimal(value)
        except InvalidOperation:
            raise expected from None
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value < 0:
        raise expected
    return Fraction(value)


def size(value: Any) -> int:
    """Bytes, from a number of bytes or a text such as `8g` (powers of 1024)."""
    value = whole(value)
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        value = int(Decimal(match[1]) * _UNITS[match[2].lower()])
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
        raise ValueError('it should be bytes, or a size such as "512m" or "8g"')
    return value


def memory(value: Any) -> int:
    result = size(value)
    if result < MIN_MEMORY:
        raise ValueError('it should be at least 6 MiB, the least that Docker takes: did you mean a size such as "8g"?')
    return result


def gpus(value: Any) -> GpuRequest:
    value = whole(value)
    if value == "all":
        return GpuRequest("all")
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 64:
        return GpuRequest("count", count=value)
    if isinstance(value, list) and value:
        ids = tuple(str(item) for item in value if isinstance(item, str | int) and not isinstance(item, bool))
        if len(ids) == len(value) and all(re.fullmatch(r"[\w-]+", item) for item in ids) and len({*ids}) == len(ids):
            return GpuRequest("ids", ids=ids)
    raise ValueError('it should be "all", a count from 1, or a list of different ids such as ["0", "1"]')


def address(value: Any) -> Address:
    """From a base URL."""
    expected = ValueError("it should be a base URL such as http://host:8000, without user, query or fragment")
    if not isinstance(value, str) or not value.isascii() or re.search(r"[\s\\\x00-\x20\x7f]", value):
        raise expected
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise expected from None
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or "@" in parts.netloc or set(value) & {"?", "#"} or port == 0:
        raise expected
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise expected from None
    elif not _HOST.fullmatch(host):
        raise expected
    return Address(host, port or (443 if parts.scheme == "https" else 80), parts.scheme, parts.path.rstrip("/"))


def text_map(value: Any) -> dict[str, str]:
    """Names and values of an environment: values may be text, numbers or booleans."""
    if not isinstance(value, dict):
        raise ValueError('it should be an object such as {"NAME": "value"}')
    return {_env_name(name): _env_text(name, item) for name, item in value.items()}


def flags(value: Any) -> dict[str, str]:
    """As `text_map`; null counts as false, as in go-livepeer."""
    if not isinstance(value, dict):
        raise ValueError('it should be an object such as {"SFAST": true}')
    return {_env_name(name): _env_text(name, False if item is None else item) for name, item in value.items()}


def _env_name(name: str) -> str:
    if not _ENV_NAME.fullmatch(name):
        raise ValueError("its names should be free of '=' and blanks, and not empty")
    return name


def _env_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | Decimal):
        return str(value)
    raise ValueError(f"the value of {name} should be text, a number or true/false")


def labels(value: Any) -> dict[str, str]:
    result = text_map(value)
    for name in result:
        if name.startswith("orchd."):
            raise ValueError(f"the label {name} is orchd's own: choose a name outside orchd.*")
    return result


def command(value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value) or not value[0]:
        raise ValueError('it should be a list of arguments such as ["python3", "server.py", "--port", "{port}"]')
    return value


def one_or_more(value: Any) -> Any:
    """A single text where a list is expected."""
    return [value] if isinstance(value, str) else value


def user(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def volume(value: str) -> str:
    if not _VOLUME.fullmatch(value) or value.startswith("~"):
        raise ValueError('it should be "/host/path:/container/path", with ":ro" behind it for read-only')
    return value


def stop_signal(value: str) -> str:
    if value not in signal.Signals.__members__:
        raise ValueError("it should be the name of a signal, such as SIGTERM or SIGINT")
    return value


def profile(value: str) -> str:
    if value not in PROFILES:
        near = nearest(value, PROFILES)
        raise ValueError(f"it should be one of {', '.join(PROFILES)}" + (f": did you mean {near}?" if near else ""))
    return value


def token(value: Any) -> Secret:
    """A bearer token, as it may stand in a header."""
    if not isinstance(value, str) or not _TOKEN.fullmatch(value):
        raise ValueError("a token should be printable ASCII without blanks")
    return Secret(value)


def model_name(value: Any) -> str:
    """A pipeline or model id."""
    if not isinstance(value, str) or not value or value != value.strip() or not value.isprintable():
        raise ValueError("it should be text without blanks at its ends or control characters, and not empty")
    return value
