"""Readers of single values: what the operator wrote -> what orchd works with. Pure.

Each takes a JSON value (numbers are int or Decimal) and returns ours, or raises ValueError with what was expected, in
words that go on from "cannot use ...: ". They never repeat the value itself: that is left to the caller, who knows
whether it may be shown. Values that another check will refuse anyway are handed on as they are.
"""

from __future__ import annotations

import ipaddress
import re
import signal
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from orchd.catalog.names import nearest
from orchd.catalog.profiles import PROFILES
from orchd.domain.ids import Address
from orchd.domain.model import GpuRequest, Secret

SIZE = r"^\s*([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([bkmgtBKMGT]?)[iI]?[bB]?\s*$"
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
PRICE = r"^[0-9]{1,60}(?:\.[0-9]{1,60})?(?:[eE][+-]?[0-9]{1,2})?$"
_PORT = "6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3}"
URL = (
    r"^[hH][tT][tT][pP][sS]?://(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]+(?:%[0-9A-Za-z._~-]+)?\])"
    rf'(?::(?:0*(?:{_PORT}))?)?(?:/[!"$->@-\[\]-~]*)?$'
)
ENV_NAME = r"^[^=\s]+$"
LABEL_NAME = r"^(?!orchd\.)[^=\s]+$"
BEARER = r"^[!-~]+$"
GPU_ID = r"^[A-Za-z0-9_-]+$"

_UNPRINTABLE = (
    r"\u0000-\u001f\u007f-\u00a0\u00ad\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ud800-\uf8ff\ufeff"
    r"\ufff9-\ufffb"
)
NAME = rf"^[^ {_UNPRINTABLE}](?:[^{_UNPRINTABLE}]*[^ {_UNPRINTABLE}])?$"

METADATA = r"^[^\ufffd]*$"
MAX_METADATA = 1024
"""Bytes in UTF-8: go-livepeer refuses more, and its signers drop such a runner of Livepeer Node's."""

_HOST_LABEL = "(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_REGISTRY = (
    rf"(?:localhost|{_HOST_LABEL}(?:\.{_HOST_LABEL})+|(?:{_HOST_LABEL}(?:\.{_HOST_LABEL})*|\[[0-9a-fA-F:]+\])"
    rf"(?=:[0-9])|\[[0-9a-fA-F:]+\])(?::[0-9]+)?"
)
_COMPONENT = "[a-z0-9]+(?:(?:[.]|_|__|-+)[a-z0-9]+)*"
_TAIL = r"(?::[^/:@]*)?(?:@.*)?$"
IMAGE = (
    rf"^(?:(?=.{{1,255}}{_TAIL}){_REGISTRY}/{_COMPONENT}(?:/{_COMPONENT})*"
    rf"|(?=.{{1,245}}{_TAIL}){_COMPONENT}(?:/{_COMPONENT})+|(?=.{{1,237}}{_TAIL}){_COMPONENT})"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?"
    r"(?:@sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128}))?$"
)
"""Docker's grammar (distribution/reference). A registry's host has a dot or a port, or is localhost.

A name has at most 255 characters without its tag, with the `docker.io/library/` that Docker puts before a short one.
"""
MAX_IMAGE = 600
"""Characters; a longer one has no chance, and need not be looked at."""
_MOUNT_OPTION = "ro|rw|z|Z|nocopy|consistent|cached|delegated|r?shared|r?slave|r?private"
VOLUME = (
    r"^(?:[a-zA-Z0-9][a-zA-Z0-9_.-]+|[/.][^:]*):/[^:]*[^:/][^:]*"
    rf"(?::(?:{_MOUNT_OPTION})(?:,(?:{_MOUNT_OPTION}))*)?$"
)
"""A volume's name, or a path; then a path in the container, which is not `/`."""

SIGNALS = sorted(signal.Signals.__members__)

MIN_MEMORY = 6 * 2**20
"""Docker refuses to run with less."""


@lru_cache
def _strict(pattern: str) -> re.Pattern[str]:
    """In Python alone, `$` also matches before a line break at the end."""
    return re.compile(pattern.removesuffix("$") + r"\Z")


def fits(pattern: str, text: str) -> bool:
    """Return whether `text` is what one of the patterns above asks for; the JSON Schema has the same."""
    return _strict(pattern).match(text) is not None


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
        if not fits(PRICE, value):
            raise expected
        value = Decimal(value)
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value < 0:
        raise expected
    return Fraction(value)


def size(value: Any) -> int:
    """Bytes, from a number of bytes or a text such as `8g` (powers of 1024)."""
    value = whole(value)
    if isinstance(value, str) and (match := re.match(_strict(SIZE), value)):
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
        items = [whole(item) for item in value]
        ids = tuple(str(item) for item in items if isinstance(item, str | int) and not isinstance(item, bool))
        right = len({*ids}) == len(value) and all(fits(GPU_ID, item) for item in ids)
        if right and not any(isinstance(item, int) and item < 0 for item in items):
            return GpuRequest("ids", ids=ids)
    raise ValueError('it should be "all", a count from 1, or a list of different ids such as ["0", "1"]')


def address(value: Any) -> Address:
    """From a base URL."""
    expected = ValueError("it should be a base URL such as http://host:8000, without user, query or fragment")
    if not isinstance(value, str) or not fits(URL, value):
        raise expected
    try:
        parts = urlsplit(value)
        port, host = parts.port, parts.hostname or ""
        if ":" in host:
            ipaddress.IPv6Address(host)
    except ValueError:
        raise expected from None
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
    if not fits(ENV_NAME, name):
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
        if not fits(LABEL_NAME, name):
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
    """A user's name, or its number as text or number."""
    value = whole(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    if not isinstance(value, str):
        raise ValueError('it should be a user, such as "app", 1000 or "1000:1000"')
    return value


def image(value: Any) -> str:
    """The name of an image, as Docker takes it."""
    if not isinstance(value, str):
        raise ValueError("it should be text")
    if len(value) <= MAX_IMAGE and fits(IMAGE, value):
        return value
    name, _, _ = value.partition("@")
    repository, colon, _ = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "")
    if re.search(r"\s", value):
        why = "an image's name has no blanks"
    elif "://" in value:
        why = "leave out http:// or https://"
    elif len(value) > MAX_IMAGE or (len(repository) > 237 and not fits(IMAGE, repository)):
        why = "it is longer than Docker's limit of 255 characters, with docker.io/library/ before a short name"
    elif "@" in value and fits(IMAGE, name):
        why = "after @ a digest should follow, such as sha256: and 64 hex digits"
    elif colon and fits(IMAGE, repository):
        why = "the tag should be 1 to 128 letters, digits, _ . and -, and begin with none of . and -"
    elif fits(IMAGE, repository.lower()):
        why = f"Docker takes only lower case here: {repository.lower()}"
    else:
        why = "it should be such as org/name:tag or registry.example/org/name:tag"
    raise ValueError(why)


def volume(value: str) -> str:
    if fits(VOLUME, value):
        return value
    if value.startswith("~"):
        raise ValueError("~ is not replaced by a home: write the path in full")
    host, _, rest = value.partition(":")
    if "/" in host and fits(VOLUME, f"./{value}"):
        raise ValueError("a path beside this file begins with ./, any other with /")
    if fits(VOLUME, f"{host}:{rest.rpartition(':')[0]}"):
        raise ValueError("after the second colon, only Docker's options may stand, such as ro")
    raise ValueError(
        'it should be "/host/path:/container/path" or "name:/container/path", with ":ro" after it for read-only'
    )


def stop_signal(value: str) -> str:
    if value not in SIGNALS:
        raise ValueError("it should be the name of a signal, such as SIGTERM or SIGINT")
    return value


def profile(value: str) -> str:
    if value not in PROFILES:
        near = nearest(value, PROFILES)
        raise ValueError(f"it should be one of {', '.join(PROFILES)}" + (f": did you mean {near}?" if near else ""))
    return value


def token(value: Any) -> Secret:
    """A bearer token, as it may stand in a header."""
    if not isinstance(value, str) or not fits(BEARER, value):
        raise ValueError("a token should be printable ASCII without blanks")
    return Secret(value)


def metadata(value: Any) -> str:
    """What Live Runner's clients read of a model: any text that both node programs, and signers, take."""
    if not isinstance(value, str) or not value:
        raise ValueError("it should be text, and not empty")
    if not fits(METADATA, value):
        raise ValueError("it should be free of U+FFFD, which go-livepeer refuses")
    if (size := len(value.encode())) > MAX_METADATA:
        raise ValueError(f"it should be at most {MAX_METADATA} bytes in UTF-8, and is {size}")
    return value


def gpu_id(value: Any) -> Any:
    """The id of a GPU: text, or its index."""
    value = whole(value)
    return str(value) if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else value


def model_name(value: Any) -> str:
    """A pipeline or model id."""
    if not isinstance(value, str) or not fits(NAME, value):
        raise ValueError("it should be text without blanks at its ends or control characters, and not empty")
    return value
