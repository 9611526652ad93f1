"""The settings of the node program beside us, in the section `[orchestrator]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from orchd.settings.basic import IsPath
from orchd.settings.section import Positive, SecretFile, Section, Url


def _check_certificate(text: str) -> str:
    kind, colon, path = text.partition(":")
    if text in ("auto", "off") or (kind in ("pin", "ca") and colon and path.startswith("/")):
        return text
    raise ValueError("it should be auto, off, pin:/PATH of the node's cert.pem, or ca:/PATH of a CA file")


class NodeSettings(Section):
    """The node program: where it is, and how it is trusted."""

    service_url: Url = Field(
        "", description="URL of the node's service port, such as https://127.0.0.1:8935; empty = there is no node."
    )
    cli_url: Url = Field(
        "", description="URL of the node's CLI port, such as http://127.0.0.1:7935; empty = it can't be reached."
    )
    secret_file: SecretFile = Field(
        "",
        description="File with the node's -orchSecret, looked for in $CREDENTIALS_DIRECTORY first; empty = no secret.",
    )
    certificate: Annotated[str, AfterValidator(_check_certificate), IsPath(prefixes=("pin:", "ca:"))] = Field(
        "auto",
        description="How the certificate of the service port is checked: pin:/PATH of <datadir>/cert.pem, ca:/PATH of "
        "a CA file, off, or auto = off on loopback, else the system's CAs.",
    )
    poll_s: Positive = Field(
        1.0, description="How often, in seconds, orchd checks whether the node is up and whether it was restarted."
    )
    call_timeout_s: Positive = Field(5.0, description="Timeout in seconds of one call to the node.")

    @property
    def enabled(self) -> bool:
        """There is a node to register with."""
        return bool(self.service_url)
