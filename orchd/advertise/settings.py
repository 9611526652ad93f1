"""The section `[orchestrator]`: the node beside us, and what it is told of our models."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from orchd.node.settings import NodeSettings
from orchd.settings.section import NotNegative, Positive, Url, split_list


def _check_register(names: tuple[str, ...]) -> tuple[str, ...]:
    from orchd.advertise import registries  # Not needed where nothing is set, as where there is no node.

    if names != ("auto",) and not set(names) <= set(registries.names()):
        raise ValueError(f"it should be auto alone, or some of {', '.join(registries.names())}")
    return names


def _check_name(pattern: str) -> str:
    try:
        filled = pattern.format(pipeline="p", model_id="m")
    except (KeyError, IndexError, ValueError) as exc:
        raise ValueError("it should be text with {pipeline} and {model_id} in it") from exc
    if filled != filled.strip() or "{model_id}" not in pattern or "{pipeline}" not in pattern:
        raise ValueError("it should hold {pipeline} and {model_id}, without blanks around")
    return pattern


def _check_eth_usd(text: str) -> str:
    if text in ("", "feed"):
        return text
    try:
        positive = Fraction(text) > 0
    except (ValueError, ZeroDivisionError):
        positive = False
    if not positive:
        raise ValueError("it should be a positive number of USD per ETH, or feed, or empty")
    return text


class OrchestratorSettings(NodeSettings):
    """The node beside us, and what it is told of our models."""

    callback_url: Url = Field(
        "http://127.0.0.1:8737",
        description="URL at which the node reaches our job listener, with an IP address beside Livepeer Node, which "
        "can't be allowed to call names; the default is that of jobs.listen.",
    )
    registries: Annotated[
        tuple[str, ...], BeforeValidator(split_list), AfterValidator(_check_register), Field(min_length=1)
    ] = Field(
        ("auto",),
        alias="register",  # As an attribute, it would hide one of pydantic's.
        description="List of registries to use at the node: live-runner, byoc, or auto = those that it speaks.",
    )
    live_runner: Literal["dynamic", "static", "exported"] = Field(
        "dynamic",
        description="How models are registered with Live Runner: dynamic = by heartbeats, static = by go-livepeer's "
        "CLI port, exported = not at all: the node has read what `orchd export runners` printed.",
    )
    capability: Annotated[str, AfterValidator(_check_name)] = Field(
        "{pipeline}/{model_id}",
        description="Pattern of the name under which gateways ask for a model; an entry may have a name of its own.",
    )
    offer_cold: bool = Field(
        True, description="Whether models that their first job would start are offered like ready ones."
    )
    withdraw_grace_s: NotNegative = Field(
        0.0, description="Keep offering a model for this many seconds after it stops being ready; 0 = withdraw at once."
    )
    allow_direct: bool = Field(
        False,
        description="Whether jobs that do not come through the node are served too; without a node they always are.",
    )
    check_s: Positive = Field(
        60.0, description="How often, in seconds, orchd checks that the node still offers each model."
    )
    recount_s: Positive = Field(
        600.0,
        description="How often, in seconds, a model is registered again by BYOC where it can't be seen whether "
        "go-livepeer still has it.",
    )
    token_rotation_h: Positive = Field(
        24.0, description="How often, in hours, the node gets new tokens for our routes; the old ones expire."
    )
    eth_usd: Annotated[str, AfterValidator(_check_eth_usd)] = Field(
        "",
        description="Rate in USD per ETH for prices in the other currency: a number, or feed = read from a contract on "
        "Arbitrum by a server of chain.rpc_url_file; empty = such prices can't be offered.",
    )
    eth_usd_feed: str = Field(
        "0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612",
        pattern=r"^0x[0-9a-fA-F]{40}$",
        description="Address of the contract that orchestrator.eth_usd = feed reads; the default is Chainlink's "
        "ETH/USD on Arbitrum One.",
    )
    rate_move_pct: Positive = Field(
        5.0, description="By how many percent the rate must move before a price in USD is registered again."
    )
