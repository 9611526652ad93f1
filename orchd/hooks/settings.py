"""The section `[hooks]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from orchd.settings.basic import IsPath
from orchd.settings.section import FreeTables, Section, split_list

WITH_OPTIONS = ("signed-job", "webhook", "limits")
BUILT_IN = ("node-token", "tickets", *WITH_OPTIONS)
"""Hooks that come with orchd, and those of them that have options in [hooks.NAME]."""


class HooksSettings(Section):
    """Who else has a say about a job, and the options of each in its table [hooks.NAME]."""

    order: Annotated[tuple[str, ...], BeforeValidator(split_list)] = Field(
        ("node-token",),
        description="List of hooks in the order in which they are asked. node-token refuses what the node did not "
        "send, and does nothing where there is none; tickets takes payment for jobs at public.listen, and is asked "
        "last wherever it stands; signed-job, webhook and limits come with orchd, too; your own are named as "
        "module:Class, or as NAME=module:Class under another name than the module's.",
    )
    path: Annotated[tuple[str, ...], BeforeValidator(split_list), IsPath(listed=True)] = Field(
        (),
        description="Folders in which the modules of your own hooks are looked for, before installed packages: "
        "absolute, or relative to the settings file. Only root and the user of orchd may be able to write there.",
    )
    tables: FreeTables = Field(default_factory=dict)
