"""What sections of settings are made of: the base class, and types that several of them use. Pure.

Names of settings carry their units. A description is a full sentence: settings are shown alone, in `--help`, in the
shipped file and in the reference, so it says what the setting does, its unit, and why the default is what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from orchd.settings.addresses import split_listen
from orchd.settings.basic import IsPath


class Section(BaseModel):
    """Base of all sections: frozen, and unknown names are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


@dataclass(frozen=True, slots=True)
class FreeTable:
    """A table of the settings file whose members orchd does not know: somebody else's model checks them.

    Attributes:
        values: as TOML has them; they may hold secrets.
        origin: the file and line of the table, for errors.
        origins: the file and line of each member.
    """

    values: Mapping[str, Any] = field(repr=False)
    origin: str
    origins: Mapping[str, str]


FreeTables = Mapping[str, FreeTable]
"""Type of a field of a section that holds all free tables below it, by name: `[section.NAME]`. The field is no setting
that people name: there is no flag and no variable for it."""


def _check_listen(listen: str) -> str:
    split_listen(listen)
    return listen


def check_url(url: str) -> str:
    """Return a URL without a slash at its end.

    Raises:
        ValueError: it is neither empty nor one that orchd can ask.
    """
    parts = urlsplit(url)
    if url and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.username):
        raise ValueError("it should be empty, or http or https with a host, such as https://127.0.0.1:8935")
    return url.rstrip("/")


def split_list(value: object) -> object:
    """Return a list of texts for one text, which may hold several with commas; anything else as it is."""
    return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value


File = Annotated[str, IsPath(moved=True)]
SecretFile = Annotated[str, IsPath(moved=True, credential=True)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
AtLeastOne = Annotated[int, Field(ge=1)]
Listen = Annotated[str, AfterValidator(_check_listen)]
Url = Annotated[str, AfterValidator(check_url)]
