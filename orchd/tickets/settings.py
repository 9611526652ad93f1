"""The section `[tickets]`."""

from __future__ import annotations

from pydantic import Field

from orchd.settings.section import SecretFile, Section


class TicketsSettings(Section):
    """How orchd is paid by those who talk to it directly."""

    key_file: SecretFile = Field(
        "",
        description="File with one line of at least 32 characters, such as openssl rand -hex 32 prints: the secrets "
        "that terms of payment are made of are encrypted with it in the database. Empty = they are kept as they are, "
        "in a file that only the user of orchd can read.",
    )
