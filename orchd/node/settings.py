"""The settings of the node program beside us, in the section `[orchestrator]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from orchd.settings.basic import IsPath
from orchd.settings.section import Positive, SecretFile, Section, Url, check_url


def check_service_url(text: str) -> str:
    """Return the setting without a slash at its end.

    Raises:
        ValueError: it is no URL, with or without a scheme.
    """
    if not text or "://" in text:
        return check_url(text)
    return check_url(f"https://{text}").removeprefix("https://")


def _check_certificate(text: str) -> str:
    kind, colon, path = text.partition(":")
    if text in ("auto", "off") or (kind in ("pin", "ca") and colon and path.startswith("/")):
        return text
    raise ValueError("it should be auto, off, pin:/PATH of the node's cert.pem, or ca:/PATH of a CA file")


class NodeSettings(Section):
    """The node program: where it is, and how it is trusted."""

    service_url: Annotated[str, AfterValidator(check_service_url)] = Field(
        "",
        description="URL of the node's service port, such as 127.0.0.1:8935; empty = there is no node. Without a "
        "scheme, https is tried, and on loopback http too.",
    )
    cli_url: Url = Field(
        "",
        description="URL of go-livepeer's CLI port, such as http://127.0.0.1:7935; empty = it can't be reached, or is "
        "not there, as beside Livepeer Node.",
    )
    secret_file: SecretFile = Field(
        "",
        description="File with the secret that the node asks of runners (go-livepeer's -orchSecret, Livepeer Node's "
        "BootstrapSecretFile), looked for in $CREDENTIALS_DIRECTORY first; empty = no secret.",
    )
    certificate: Annotated[str, AfterValidator(_check_certificate), IsPath(prefixes=("pin:", "ca:"))] = Field(
        "auto",
        description="How the certificate of a service port with TLS is checked: pin:/PATH of go-livepeer's "
        "<datadir>/cert.pem, ca:/PATH of a CA file, off, or auto = off on loopback, else the system's CAs.",
    )
    poll_s: Positive = Field(
        0.75,
        description="How often, in seconds, orchd checks whether the node is up and whether it was restarted; what it "
        "has forgotten is registered again within a second.",
    )
    call_timeout_s: Positive = Field(5.0, description="Timeout in seconds of one call to the node.")

    @property
    def enabled(self) -> bool:
        """There is a node to register with."""
        return bool(self.service_url)
