"""Settings that can be used, but are likely to be mistakes. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from orchd.settings.addresses import EVERYWHERE, port_of, split_listen
from orchd.settings.tree import Settings

LIVEPEER_PORTS = range(8935, 8943)
"""Ports that Livepeer's own programs take on loopback: docs/protocol/go-livepeer-cli.md, docs/protocol/byoc.md."""
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def advice(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield the name of each setting that is likely to be a mistake, and why, in plain words."""
    ports = [("admin.listen", settings.admin.listen)]
    ports += [("jobs.listen", listen) for listen in settings.jobs.listen]
    ports += [("public.listen", listen) for listen in settings.public.listen]
    first, last = LIVEPEER_PORTS[0], LIVEPEER_PORTS[-1]
    for name, listen in ports:
        if port_of(listen) in LIVEPEER_PORTS:
            why = (
                f"{listen}: Livepeer's own programs take the ports {first} to {last}, and one that starts first keeps "
                f"orchd from starting; {_default(name)}"
            )
            yield name, why
    yield from _same_port(settings)
    yield from _callback(settings)
    yield from _payment(settings)


def _same_port(settings: Settings) -> Iterator[tuple[str, str]]:
    """Two of our own listeners want the same port."""
    named = [("admin.listen", settings.admin.listen)]
    named += [("jobs.listen", listen) for listen in settings.jobs.listen]
    named += [("public.listen", listen) for listen in settings.public.listen]
    if settings.sells_sessions:
        named.append(("public.runner_listen", settings.public.runner_listen))
    for at, (name, listen) in enumerate(named):
        for other, taken in named[:at]:
            if port_of(listen) and port_of(listen) == port_of(taken) and _hosts_meet(listen, taken):
                yield name, f"{listen}: {other} has the same port ({taken}), and orchd does not start so; take another"


def _hosts_meet(one: str, other: str) -> bool:
    """Return whether one of them takes the port from the other: of `:port` the host is not known before orchd runs."""
    if one.startswith(":") or other.startswith(":"):
        return True
    hosts = {split_listen(one)[0], split_listen(other)[0]}
    return len(hosts) == 1 or not hosts.isdisjoint(EVERYWHERE)


def _payment(settings: Settings) -> Iterator[tuple[str, str]]:
    """Somebody is asked to pay, and nobody can."""
    if not settings.takes_tickets:
        return
    if not (settings.public.listen and settings.public.paid_doors):
        why = (
            f"{', '.join(settings.hooks.order)}: tickets is asked at the doors byoc and live-runner of public.listen "
            'alone, and none of them is open; set public.listen, and public.doors, such as to ["live-runner"]'
        )
        yield "hooks.order", why
    elif not settings.chain.id and settings.tickets.off_chain == "refuse":
        why = (
            "0: without a chain tickets are worth nothing, so only free models are served at public.listen; name the "
            "chain that backs them, 42161 for Arbitrum One"
        )
        yield "chain.id", why


def _callback(settings: Settings) -> Iterator[tuple[str, str]]:
    """The node calls us at a port of this machine at which nobody listens."""
    rules = settings.orchestrator
    url = urlsplit(rules.callback_url)
    node = urlsplit(rules.service_url if "://" in rules.service_url else f"//{rules.service_url}").hostname
    if rules.enabled and url.hostname in LOOPBACK and node not in LOOPBACK:
        why = (
            f"{rules.callback_url}: the node at {node} reaches itself by a loopback address, and not orchd; name an "
            "address of this machine at which the node reaches the job listener"
        )
        yield "orchestrator.callback_url", why
    here = [port_of(listen) for listen in settings.jobs.listen]
    if not rules.enabled or url.hostname not in LOOPBACK or None in here or 0 in here:
        return  # Elsewhere, or a socket whose port is not known: a proxy may stand between.
    port = url.port or (443 if url.scheme == "https" else 80)
    if port not in here:
        why = (
            f"{rules.callback_url}: no address of jobs.listen ({', '.join(settings.jobs.listen)}) has port {port}, so "
            "the node reaches nobody there; make the two ports the same"
        )
        yield "orchestrator.callback_url", why
    elif url.hostname == "localhost" and node in LOOPBACK:
        why = f"{rules.callback_url}: Livepeer Node dials no names; write 127.0.0.1 in place of localhost"
        yield "orchestrator.callback_url", why


def _default(name: str) -> str:
    if name == "public.listen":
        return "take another, such as 8443"
    return f"orchd's default is {Settings().admin.listen if name == 'admin.listen' else Settings().jobs.listen[0]}"
