"""The section `[public]`: the listener at which payers reach orchd without a node in between."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from orchd.settings.addresses import read_grant, split_listen
from orchd.settings.basic import IsPath
from orchd.settings.section import AtLeastOne, Listen, Positive, Section, Url

PAID = ("byoc", "live-runner")
"""The doors by which comes what is paid for with tickets."""
DoorName = Literal["byoc", "live-runner"]


def _split(value: object) -> object:
    """As `split_list`; an empty text is an empty list, since nothing is the default here."""
    return tuple(word for part in value.split(",") if (word := part.strip())) if isinstance(value, str) else value


def _check_doors(doors: tuple[DoorName, ...]) -> tuple[DoorName, ...]:
    if len(set(doors)) != len(doors):
        raise ValueError("it should name each door once")
    return doors


def _check_origin(url: str) -> str:
    if not url:
        return url
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise ValueError(_ORIGIN) from exc
    rest = parts.path.rstrip("/") + parts.query + parts.fragment
    if parts.scheme != "https" or not host or not _HOST.fullmatch(host) or rest or "@" in parts.netloc or port == 0:
        raise ValueError(_ORIGIN)
    name = f"[{host}]" if ":" in host else host
    return f"https://{name}" + (f":{port}" if port not in (None, 443) else "")


_ORIGIN = "it should be https, a host and maybe a port, with no path, such as https://ai.example.org:8443"
_HOST = re.compile(r"[a-z0-9.-]+|[0-9a-f:.]+")


def _check_base_path(path: str) -> str:
    path = path.rstrip("/")
    if path and not re.fullmatch(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+", path):
        raise ValueError("it should be empty, or a path of letters, digits and .-_~ such as /ai")
    return path


def _check_networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for each in networks:
        try:
            ipaddress.ip_network(each)
        except ValueError as exc:
            raise ValueError(f"{each!r} should be an address or a network such as 10.0.0.0/8") from exc
    return networks


def _check_runner_listen(listen: str) -> str:
    split_listen(f"127.0.0.1{listen}" if listen.startswith(":") else listen)
    return listen


def _check_grants(grants: tuple[str, ...]) -> tuple[str, ...]:
    for grant in grants:
        try:
            read_grant(grant)
        except ValueError as exc:
            raise ValueError(f"{grant!r} can't be granted: {exc}") from exc
    return grants


class PublicSettings(Section):
    """The listener at which payers reach orchd without a node in between; off unless public.listen names an address."""

    listen: Annotated[tuple[Listen, ...], BeforeValidator(_split)] = Field(
        (),
        description="List of addresses (host:port) at which payers reach orchd, such as 0.0.0.0:8443; empty = nowhere. "
        "There is no default, since it opens orchd to everybody who reaches that address.",
    )
    url: Annotated[str, AfterValidator(_check_origin)] = Field(
        "",
        description="Origin that payers are told, such as https://ai.example.org:8443; it must lead to public.listen, "
        "directly or by a proxy.",
    )
    base_path: Annotated[str, AfterValidator(_check_base_path)] = Field(
        "", description="Path before all others at public.listen, such as /ai, where a proxy does not take it off."
    )
    doors: Annotated[tuple[DoorName, ...], BeforeValidator(_split), AfterValidator(_check_doors)] = Field(
        (),
        description="List of the ways in that public.listen carries: byoc = jobs that pay for themselves by "
        "go-livepeer's BYOC; live-runner = sessions and jobs that clients of Live Runner's find, reserve and pay for "
        "here, with no Livepeer program in between. Empty = none: every path is 404.",
    )
    offer_cold: bool = Field(
        False,
        description="Whether clients of the door live-runner are told of cold models, which their first session "
        "starts; it gets 503 until that has come up, and is not charged. The default is no, as today's clients go "
        "elsewhere after a 503.",
    )
    list_full: bool = Field(
        False,
        description="Whether clients of the door live-runner are told of models without a free slot. The default is "
        "no: who is told of one would come and get 409.",
    )
    certificate: Annotated[str, IsPath()] = Field(
        "",
        description="File with the certificate of public.listen and those that lead to its issuer, in PEM; it is read "
        "again when it changes. Empty = orchd makes one that it signs itself, and keeps it in its state directory.",
    )
    key: Annotated[str, IsPath(credential=True)] = Field(
        "",
        description="File with the private key of public.certificate, in PEM and without a passphrase, looked for in "
        "$CREDENTIALS_DIRECTORY first.",
    )
    tls: bool = Field(
        True, description="Whether public.listen speaks TLS; false = plain HTTP, for a proxy in front that speaks it."
    )
    trusted_proxies: Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_networks)] = Field(
        (),
        description="List of addresses and networks of proxies in front of public.listen: what they say of their "
        "callers in X-Forwarded-For is believed, and nobody else's word is.",
    )
    max_header_kb: AtLeastOne = Field(
        128,
        description="Longest request head in KiB; a longer one gets 431. The default is double that of jobs, as a "
        "payment can hold 600 tickets.",
    )
    max_connections: AtLeastOne = Field(
        2048,
        description="Most connections at public.listen at one time, beside those of jobs.listen; more get 503. Both "
        "share what the limit of open files allows, in this proportion.",
    )
    max_connections_per_address: AtLeastOne = Field(
        512,
        description="Most connections at public.listen of one address (of IPv6, a /64) at one time; more are closed at "
        "once. Proxies that public.trusted_proxies names may have any number. The default leaves room for other "
        "callers, and a busy gateway has a connection for each of its jobs.",
    )
    answer_timeout_s: Positive = Field(
        5.0, description="Timeout in seconds of what orchd answers payers itself, such as a token; 503 after that."
    )
    address_rate: Positive = Field(
        50.0,
        description="Most requests per second from one address (of IPv6, a /64) that orchd answers itself; more get "
        "429. Jobs are not counted, but for those of Live Runner's clients whose payment is refused. A gateway asks "
        "once before each job.",
    )
    address_burst: AtLeastOne = Field(
        200, description="How many requests an address may save up for one moment, beyond public.address_rate."
    )
    payer_rate: Positive = Field(
        50.0, description="Most requests per second of one payer that orchd answers itself; more get 429."
    )
    payer_burst: AtLeastOne = Field(
        200, description="How many requests a payer may save up for one moment, beyond public.payer_rate."
    )
    runner_listen: Annotated[str, AfterValidator(_check_runner_listen)] = Field(
        ":8739",
        description="Address at which containers reach orchd for sessions of the door live-runner, by plain HTTP; "
        ":port alone = at 127.0.0.1 and at the gateway of docker.network, where no other machine reaches it.",
    )
    runner_url: Url = Field(
        "",
        description="Base URL of public.runner_listen as containers are told it, such as http://10.0.0.2:8739; empty = "
        "the gateway of docker.network, and 127.0.0.1 for what is no container.",
    )
    proxy_grants: Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_check_grants)] = Field(
        (),
        description="List of IP addresses and networks, with a port or without, to which a container may have a proxy "
        "of its session lead, such as 10.0.0.5:9000. Each request there carries the session's token. Empty = to its "
        "own runner only.",
    )

    @property
    def all_connections(self) -> int:
        """Most connections of payers and of containers together: of these as many as of those."""
        return self.max_connections * (2 if "live-runner" in self.doors else 1)

    @property
    def paid_doors(self) -> tuple[str, ...]:
        """Those of `doors` by which comes what is paid for with tickets."""
        return tuple(door for door in self.doors if door in PAID)
