"""The endpoints of the CLI port that need a chain: a node whose account is bonded and active.

What this double has no use for answers as recorded. Source: go-livepeer-cli.md 2, 3.3 to 3.7; onchain-cli.json,
onchain-set-orchestrator-config.json, onchain-rounds.json.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from tests.doubles.golivepeer.cli import exact, parameters, required, text
from tests.doubles.golivepeer.price import BadPrice
from tests.doubles.golivepeer.signing import eth_account
from tests.doubles.shared import go_json
from tests.doubles.shared.answers import json_answer
from tests.doubles.shared.go_http import Dropped, sniffed, text_error
from tests.doubles.shared.go_json import GoJsonError

if TYPE_CHECKING:
    from tests.doubles.golivepeer.chain import Chain
    from tests.doubles.golivepeer.node import Node

_STAKE = 10**21
_NEVER = 2**256 - 1
_CONTRACTS = {
    "BondingManager": "0x959922be3caee4b8cd9a407cc3ac1c251c2007b1",
    "Controller": "0x5fbdb2315678afecb367f032d93f642f64180aa3",
    "LivepeerToken": "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512",
    "LivepeerTokenFaucet": "0xe6e340d132b5f46d1e472debcd681b2abc16e57e",
    "Minter": "0xcf7ed3acca5a467e9e704c703e8d87f634fb0fc9",
    "RoundsManager": "0xa85233c63b9ee964add6f2cffe00fd84eb32338f",
    "TicketBroker": "0xa513e6e4b8f2a923d98304ec87f64353c4d5c853",
}
_NOT_USED = (
    "VerificationPeriod",
    "SlashingPeriod",
    "FailedVerificationSlashAmount",
    "MissedVerificationSlashAmount",
    "DoubleClaimSegmentSlashAmount",
    "FinderFee",
)
_PROTOCOL = {
    "NumActiveTranscoders": 100,
    "RoundLength": 200,
    "RoundLockAmount": 100000,
    "UnbondingPeriod": 7,
    "VerificationRate": 0,
    **dict.fromkeys(_NOT_USED),
    "Inflation": 220000,
    "InflationChange": 500,
    "TargetBondingRate": 500000000,
    "VerificationCodeHash": "",
    "TotalBonded": _STAKE,
    "TotalSupply": 10**24,
    "Paused": False,
}


class BadUri(Exception):
    """Not a URI for a request; the text is Go's."""


def parse_request_uri(uri: str) -> str:
    """Return the host of what `url.ParseRequestURI` takes: anything with a scheme passes. Raises BadUri."""
    if uri.startswith(":"):
        raise BadUri(f'parse "{uri}": missing protocol scheme')
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", uri) and not uri.startswith("/"):
        raise BadUri(f'parse "{uri}": invalid URI for request')
    return urlsplit(uri).netloc


def cli_routes(node: Node) -> list[web.RouteDef]:
    chain = node.settings.on_chain
    assert chain is not None
    answers = _Answers(node, chain)
    return [
        exact("/ethAddr", answers.address),
        exact("/ethBalance", answers.balance),
        exact("/tokenBalance", answers.zero),
        exact("/currentRound", answers.current_round),
        exact("/roundInitialized", answers.round_initialized),
        exact("/orchestratorInfo", answers.orchestrator_info),
        exact("/registeredOrchestrators", answers.registered),
        exact("/contractAddresses", _recorded(_CONTRACTS)),
        exact("/protocolParameters", _recorded(_PROTOCOL)),
        exact("/senderInfo", answers.sender_info),
        exact("/delegatorInfo", answers.delegator_info),
        exact("/unbondingLocks", _recorded([])),
        exact("/maxGasPrice", answers.max_gas_price),
        exact("/minGasPrice", answers.min_gas_price),
        exact("/setMaxGasPrice", answers.set_max_gas_price),
        exact("/setMinGasPrice", answers.set_min_gas_price),
        exact("/setOrchestratorConfig", answers.set_config),
        exact("/signMessage", answers.sign),
    ]


def _recorded(value: Any) -> Any:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return json_answer(value)

    return answer


class _Answers:
    def __init__(self, node: Node, chain: Chain) -> None:
        self._node = node
        self._chain = chain
        self._max_gas_price: int | None = None
        self._min_gas_price = 20_000_000

    @property
    def _uri(self) -> str:
        return self._node.service_uri if self._chain.uri is None else self._chain.uri

    async def address(self, _request: web.Request) -> web.StreamResponse:
        return text(self._chain.orchestrator)

    async def balance(self, _request: web.Request) -> web.StreamResponse:
        return text(str(self._chain.eth_balance))

    async def zero(self, _request: web.Request) -> web.StreamResponse:
        return text("0")

    async def current_round(self, _request: web.Request) -> web.StreamResponse:
        return text(str(self._chain.round + (not self._chain.initialized)))

    async def round_initialized(self, _request: web.Request) -> web.StreamResponse:
        return text(str(self._chain.initialized).lower())

    def _transcoder(self, price: str | None) -> dict[str, Any]:
        return {
            "Address": self._chain.orchestrator.lower(),
            "ServiceURI": self._uri,
            "LastRewardRound": 0,
            "RewardCut": self._chain.reward_cut,
            "FeeShare": self._chain.fee_share,
            "DelegatedStake": _STAKE,
            "ActivationRound": 2,
            "DeactivationRound": _NEVER,
            "LastActiveStakeUpdateRound": 2,
            "Active": True,
            "Status": "Registered",
            "PricePerPixel": price,
        }

    async def orchestrator_info(self, _request: web.Request) -> web.StreamResponse:
        base = self._node.base_prices.prices.get("default")
        return json_answer({"Transcoder": self._transcoder(None), "PriceInfo": None if base is None else str(base)})

    async def registered(self, _request: web.Request) -> web.StreamResponse:
        return json_answer([self._transcoder("0")])

    async def sender_info(self, _request: web.Request) -> web.StreamResponse:
        """The node's own account has neither deposit nor reserve."""
        return json_answer(
            {"Deposit": 0, "WithdrawRound": 0, "Reserve": {"FundsRemaining": 0, "ClaimedInCurrentRound": 0}}
        )

    async def delegator_info(self, _request: web.Request) -> web.StreamResponse:
        address = self._chain.orchestrator.lower()
        return json_answer(
            {
                "Address": address,
                "BondedAmount": _STAKE,
                "Fees": 0,
                "DelegateAddress": address,
                "DelegatedAmount": _STAKE,
                "StartRound": 2,
                "LastClaimRound": 1,
                "NextUnbondingLockId": 0,
                "PendingStake": _STAKE,
                "PendingFees": 0,
                "Status": "Bonded",
            }
        )

    async def max_gas_price(self, _request: web.Request) -> web.StreamResponse:
        return sniffed(200, b"" if self._max_gas_price is None else str(self._max_gas_price).encode())

    async def min_gas_price(self, _request: web.Request) -> web.StreamResponse:
        return text(str(self._min_gas_price))

    async def set_max_gas_price(self, request: web.Request) -> web.StreamResponse:
        """0 removes the cap; with metrics on, the handler crashes over it after it has done so."""
        (amount,) = await required(request, "amount")
        if not amount.isdigit():
            return text_error(400, f"invalid amount: {amount}")
        self._max_gas_price = int(amount) or None
        if self._max_gas_price is None and self._node.settings.monitor:
            raise Dropped
        return web.Response()

    async def set_min_gas_price(self, request: web.Request) -> web.StreamResponse:
        (amount,) = await required(request, "minGasPrice")
        if not amount.isdigit():
            return text_error(400, f"invalid minGasPrice: {amount}")
        self._min_gas_price = int(amount)
        return web.Response()

    async def set_config(self, request: web.Request) -> web.StreamResponse:
        """Price, then cuts, then URI: what was done before a failure stays done. Half of a pair is ignored."""
        found = {name: value for name, value in (await parameters(request)).items() if value}
        if {"pricePerUnit", "pixelsPerUnit"} <= set(found):
            price, pixels, currency = found["pricePerUnit"], found["pixelsPerUnit"], found.get("currency", "")
            try:
                self._node.base_prices.set("default", price, pixels, currency, self._chain)
            except BadPrice as error:
                return text_error(400, str(error))
        if {"blockRewardCut", "feeShare"} <= set(found):
            refusal = await self._set_cuts(found["blockRewardCut"], found["feeShare"])
            if refusal is not None:
                return refusal
        return await self._set_uri(found["serviceURI"]) if "serviceURI" in found else web.Response()

    async def _set_cuts(self, reward_cut: str, fee_share: str) -> web.Response | None:
        """Return the refusal, if there is one. Percent, as floats."""
        parts = []
        for value, name in ((reward_cut, "block reward cut"), (fee_share, "fee share")):
            try:
                parts.append(round(float(value) * 10_000))
            except ValueError:
                return text_error(400, f'Cannot convert {name}: strconv.ParseFloat: parsing "{value}": invalid syntax')
        if parts == [self._chain.reward_cut, self._chain.fee_share]:
            return None
        if not self._chain.initialized:
            return text_error(500, "execution reverted: current round is not initialized")
        # This orchestrator is active and never calls reward.
        why = "caller can't be active or must have already called reward for the current round"
        return text_error(500, f"execution reverted: {why}")

    async def _set_uri(self, uri: str) -> web.Response:
        """Write the registry, unless it says so already; only after that does the node call itself so."""
        try:
            host = parse_request_uri(uri)
        except BadUri as error:
            return text_error(400, str(error))
        if "0.0.0.0" in host:
            return text_error(500, "service address must be a public IP address or hostname")
        if uri != self._uri:
            if self._chain.block_time_s:
                await self._node.clock.sleep(self._chain.block_time_s)
            self._chain.uri = self._node.adopted_uri = uri
        return web.Response()

    async def sign(self, request: web.Request) -> web.StreamResponse:
        """65 raw bytes: r, s, v. The message is any bytes, or EIP-712 JSON where the header says so."""
        eth = eth_account()
        (message,) = await required(request, "message")
        raw = message.encode("utf-8", "surrogateescape")
        if request.headers.get("SigFormat") == "data/typed":
            try:
                go_json.decode(message)
            except GoJsonError as error:
                return text_error(400, f'could not unmarshal typed data - err="{error}"')
            signable = eth.messages.encode_typed_data(full_message=json.loads(message))
        else:
            signable = eth.messages.encode_defunct(primitive=raw)
        signature = eth.Account.sign_message(signable, self._chain.key).signature
        return web.Response(body=bytes(signature), headers={"Content-Type": "application/octet-stream"})
