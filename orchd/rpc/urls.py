"""The URLs of RPC servers, as their file has them. Pure. A URL usually holds a key: only its host is ever shown."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from orchd.domain.model import Secret
from orchd.errors import SettingsError

SETTING = "chain.rpc_url_file"
MOST_URLS = 16


@dataclass(frozen=True, slots=True)
class RpcUrl:
    """One of them.

    Attributes:
        name: its host, and its port if that is given; with a number behind it if an earlier line has the same.
    """

    name: str
    url: Secret


def rpc_urls(text: Secret | None) -> tuple[RpcUrl, ...]:
    """Return the URLs in the order of their lines, each once.

    Args:
        text: what the file holds; empty lines say nothing. None = no file is named.

    Raises:
        SettingsError: a line is no URL that can be asked, or there are none, or too many. It names the line alone.
    """
    if text is None:
        raise SettingsError(
            f"cannot read a chain without the URL of an RPC server: name a file with one in {SETTING}, or set chain.id "
            "to 0 and orchestrator.eth_usd to a number"
        )
    found: dict[str, RpcUrl] = {}
    for number, line in enumerate(text.value.splitlines(), start=1):
        url = line.strip()
        if url and url not in found:
            name = _name(url, number)
            same = sum(each.name.partition(" ")[0] == name for each in found.values())
            found[url] = RpcUrl(f"{name} ({same + 1})" if same else name, Secret(url))
    if not 0 < len(found) <= MOST_URLS:
        raise SettingsError(f"cannot use the file in {SETTING}: it holds {len(found)} URLs, not 1 to {MOST_URLS}")
    return tuple(found.values())


def _name(url: str, line: int) -> str:
    try:
        parts = urlsplit(url)
        host, port, usable = parts.hostname, parts.port, parts.scheme in ("http", "https") and url.isprintable()
    except ValueError:
        host, port, usable = None, None, False
    if not usable or not host or " " in url:
        # `from None` and no text: a line that is nearly a URL may hold a key as well.
        raise SettingsError(
            f"cannot use line {line} of the file in {SETTING}: it should be a URL with http or https, and a host"
        ) from None
    return f"{host}:{port}" if port else host
