"""How the client pays: it asks its signer, and sends what it gets. Source: paid-live-runner.md 11."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from tests.doubles.sdk_client.http import HttpError, RefreshRequired, SdkError, request

INTERVAL_S = 3.0
"""Pause before each top-up; what the cycle itself takes comes on top."""
REFRESHES = 3
"""Most in one cycle."""
GOES_ON = (408, 429)
"""Answers of 4xx after which the next cycle comes; after the others none does."""


@dataclass(frozen=True, slots=True)
class SignerAccess:
    """Where the signer is, and the headers that it wants; it alone gets them."""

    url: str
    headers: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Challenge:
    """A whole challenge: what a 402 must hold to be acted on."""

    payment_params: str
    manifest_id: str
    payment_url: str


def read_challenge(body: str) -> Challenge:
    """Return the challenge in the body of a 402.

    Raises:
        SdkError: it is none, or not whole.
    """
    try:
        found = json.loads(body)
    except ValueError as error:
        raise SdkError("Live runner payment challenge response was not valid JSON") from error
    if not isinstance(found, dict):
        raise SdkError("Live runner payment challenge response must be a JSON object")
    names = ("payment_params", "manifest_id", "payment_url")
    for name in names:
        if not isinstance(found.get(name), str) or not found[name]:
            raise SdkError(f"Live runner payment challenge missing {name}")
    return Challenge(*(found[name] for name in names))


async def payer_address(signer: SignerAccess) -> str:
    """Return the signer's address; both members must be there."""
    url = f"{origin(signer.url)}/sign-orchestrator-info"
    found = (await request("POST", url, {}, signer.headers)).object()
    if not all(isinstance(found.get(name), str) and found[name] for name in ("address", "signature")):
        raise SdkError("Remote signer JSON must contain 'address' and 'signature'")
    return str(found["address"])


@dataclass
class Funding:
    """Pays for one session, from its first payment on.

    Attributes:
        sender: address of the payer, for refreshes.
        common: members that each request to the signer has.
        state: the signer's, handed back with the next request.
    """

    signer: SignerAccess
    sender: str
    challenge: Challenge
    common: dict[str, Any]
    state: dict[str, Any] | None = None

    async def payment(self) -> dict[str, str]:
        """Return the headers of the next payment.

        Raises:
            RefreshRequired: the signer wants new terms for a first payment.
            SkipCycle: nothing is due.
            SdkError: there is none.
        """
        for _ in range(REFRESHES):
            try:
                return await self._signed()
            except RefreshRequired:
                if self.state is None:
                    raise
                await self._refresh()
        try:
            return await self._signed()
        except RefreshRequired as error:
            raise SdkError(f"Signer refresh required after {REFRESHES} retries") from error

    async def run(self) -> bool:
        """Top up until there is no use in it; return whether the session is gone."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            try:
                await request("POST", self.challenge.payment_url, headers=await self.payment())
            except HttpError as error:
                if error.status < 500 and error.status not in GOES_ON:
                    return error.status == 404
            except SdkError:
                continue

    async def _signed(self) -> dict[str, str]:
        asked = {
            "orchestrator": self.challenge.payment_params,
            "type": self.common["type"],
            "ManifestID": self.challenge.manifest_id,
            **self.common,
            **({"state": self.state} if self.state is not None else {}),
        }
        url = f"{origin(self.signer.url)}/generate-live-payment"
        found = (await request("POST", url, asked, self.signer.headers)).object()
        if not found.get("payment") or not isinstance(found.get("state"), dict):
            raise SdkError("the signer's answer lacks payment or state")
        self.state = found["state"]
        if not found.get("segCreds"):
            raise SdkError("Signer returned a payment with no segCreds")
        return {"Livepeer-Payment": found["payment"], "Livepeer-Segment": found["segCreds"]}

    async def _refresh(self) -> None:
        """Get new terms; the manifest and the URL stay."""
        url = f"{origin(self.challenge.payment_url)}/refresh-payment"
        asked = {"sender": self.sender, "manifest_id": self.challenge.manifest_id}
        params = (await request("POST", url, asked)).object().get("payment_params")
        if not isinstance(params, str) or not params:
            raise SdkError("RefreshPayment error: missing 'payment_params'")
        self.challenge = replace(self.challenge, payment_params=params)


def origin(url: str) -> str:
    """Return scheme, host and port of a URL: the path is dropped."""
    parts = urlsplit(url if "://" in url else f"https://{url}")
    return f"{parts.scheme}://{parts.netloc}"
