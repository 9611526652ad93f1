"""What can be wrong with `[chain]`, for the start and for `orchd check`."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from orchd.chain.addresses import checksummed, is_mistyped
from orchd.chain.contracts import ARBITRUM_CONTROLLER
from orchd.chain.doubts import chain_doubts, controller_of
from orchd.chain.settings import ChainSettings
from orchd.settings.load import load_settings

US = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
FILE = "/etc/orchd/rpc"


def names(**values: object) -> list[str]:
    return [name for name, _ in chain_doubts(ChainSettings.model_validate(values))]


def test_without_a_chain_nothing_is_asked_for() -> None:
    assert names() == names(rpc_url_file=FILE) == []


def test_the_former_name_of_the_file_is_still_read_and_told() -> None:
    warnings: list[str] = []
    env = {"ORCHD_ORCHESTRATOR_RPC_URL_FILE": FILE}
    settings = load_settings(argv={}, env=env, file=None, warn=warnings.append)
    assert (settings.chain.rpc_url_file, settings.chain.id) == (FILE, 0)
    [warning] = warnings
    assert "is named chain.rpc_url_file now" in warning


def test_a_chain_needs_servers_and_our_address_and_elsewhere_a_controller() -> None:
    assert names(id=42161) == ["chain.rpc_url_file", "chain.orchestrator"]
    assert names(id=42161, rpc_url_file=FILE, orchestrator=US) == []
    assert names(id=31337, rpc_url_file=FILE, orchestrator=US) == ["chain.controller"]
    assert names(id=31337, rpc_url_file=FILE, orchestrator=US, controller=US) == []


def test_the_controller_of_arbitrum_one_is_known() -> None:
    assert controller_of(ChainSettings(id=42161)) == ARBITRUM_CONTROLLER
    assert controller_of(ChainSettings(id=42161, controller=US)) == US


def test_a_slip_of_the_finger_is_found_by_the_checksum() -> None:
    slip = US.replace("aAeb", "aAec")
    found = dict(chain_doubts(ChainSettings(id=42161, rpc_url_file=FILE, orchestrator=slip)))
    assert slip in found["chain.orchestrator"]
    assert checksummed(bytes.fromhex(slip[2:])) in found["chain.orchestrator"]


@pytest.mark.parametrize("address", ["0x12", US[2:], US + "0", "0x" + "g" * 40, US + "\n"])
@pytest.mark.parametrize("name", ["orchestrator", "controller"])
def test_what_is_no_address_is_refused_at_once(name: str, address: str) -> None:
    with pytest.raises(ValidationError):
        ChainSettings.model_validate({name: address})


@pytest.mark.parametrize(
    "address",
    # EIP-55's own examples.
    [
        US,
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0x27b1fdb04752bbc536007a920d24acb045561c26",
        ARBITRUM_CONTROLLER,
    ],
)
def test_right_checksums_are_right(address: str) -> None:
    assert checksummed(bytes.fromhex(address[2:])) == address
    assert not is_mistyped(address)
    assert not is_mistyped(address.lower())


def test_an_address_without_a_checksum_is_taken_as_it_is() -> None:
    assert not is_mistyped("0x" + US[2:].upper())
    assert is_mistyped(US.swapcase().replace("0X", "0x"))
