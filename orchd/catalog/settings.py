"""The settings of the models file. They stand at the top of the settings file, outside all sections."""

from __future__ import annotations

from pydantic import Field

from orchd.settings.basic import MODELS_FILE
from orchd.settings.section import File, Positive, Section


class CatalogSettings(Section):
    """The models file, and how it is watched."""

    models_file: File = Field(MODELS_FILE.default, description=MODELS_FILE.description)
    models_poll_s: Positive = Field(
        4.0,
        description="How often, in seconds, the models file is read even if no change was reported: network mounts and "
        "some container mounts report none.",
    )
    strict_file: bool = Field(
        False,
        description="Whether unknown keys in the models file are errors, as with `orchd check --strict`; false = "
        "warnings, so that files written for other programs work.",
    )
