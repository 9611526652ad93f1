"""What `orchd check` says of the section `[public]`. Reads the certificate, and who has its ports; opens nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from fractions import Fraction

from orchd.cli.price_direct import direct_price, warnings_of
from orchd.domain.model import Model
from orchd.hooks.terms import terms_of
from orchd.public.doubts import certificate_doubts, doubtful, refused
from orchd.public.settings import PublicSettings
from orchd.settings.addresses import split_listen
from orchd.settings.files import call, reason
from orchd.settings.load import value_of
from orchd.settings.tree import Settings
from orchd.tcp_listeners import holder
from orchd.tickets.prices import quote
from orchd.tickets.validation.faults import PaymentRefused


def public_refused(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting with which orchd does not start, and its value with why."""
    public = settings.public
    yield from _with_values(settings, refused(public))
    if public.listen and (doors := public.paid_doors) and not settings.takes_tickets:
        nobody = f"nobody would be paid for what comes by {' and '.join(doors)}; put tickets into hooks.order"
        yield from _with_values(settings, [("public.doors", nobody)])


def public_doubts(settings: Settings) -> Iterator[tuple[str, str]]:
    """Yield each setting that is likely to be a mistake, and its value with why."""
    public = settings.public
    yield from _with_values(settings, (*doubtful(public), *_taken(public), *_certificate(public)))


def unsold(models: Iterable[Model], settings: Settings) -> Iterator[str]:
    """Yield why models with a price can't be sold for tickets, or not for what is asked, or only with short gaps.

    Of those without one the file's own problems tell.
    """
    node, public = settings.orchestrator, settings.public
    if not (settings.takes_tickets and public.listen and public.paid_doors):
        return
    rate = Fraction(node.eth_usd) if settings.converts_prices and not settings.reads_feed else None
    for model in models:
        if model.price is None:
            continue
        if rate is None and model.price.wei(None) is None:
            if not settings.reads_feed:
                yield (
                    f"cannot sell {model.key} for tickets: its price is in USD, and orchd does not know what an "
                    "ETH costs; set orchestrator.eth_usd, or give the price in wei or ETH"
                )
            continue
        try:
            quote(terms_of(model, name=node.capability, eth_usd=rate))
        except PaymentRefused as why:
            yield why.message
            continue
        if "live-runner" in public.doors:
            for text in warnings_of(direct_price(model, rate, settings.tickets)):
                yield f"{model.key}: {text}"


def _with_values(settings: Settings, found: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for name, why in found:
        value = value_of(settings, name)
        shown = ", ".join(value) if isinstance(value, tuple) else str(value)
        yield name, f"{shown or 'empty'}: {why}"


def _taken(public: PublicSettings) -> Iterator[tuple[str, str]]:
    for listen in public.listen:
        host, port = split_listen(listen)
        if port and (program := holder(host, port)) and not program.startswith("orchd "):
            yield "public.listen", f"port {port} is taken by {program}, and orchd does not start without it"


def _certificate(public: PublicSettings) -> Iterator[tuple[str, str]]:
    if not (public.listen and public.tls and public.certificate and public.key):
        return
    from orchd.public.tls import files_of, read_files  # Only who has a certificate pays for its library.

    chain, key = files_of(public, os.environ)
    for name, path in (("public.certificate", chain), ("public.key", key)):
        try:
            call(path.read_bytes)
        except PermissionError:
            return  # The user of the service may be allowed to.
        except OSError as exc:
            yield name, f"{reason(exc)}, and orchd does not start without it (the unit alone sees its credentials)"
            return
    try:
        certificate = read_files(chain, key)
    except ValueError as exc:
        yield "public.certificate", f"{exc}, and orchd does not start with it"
        return
    yield from certificate_doubts(public, certificate, time.time())
