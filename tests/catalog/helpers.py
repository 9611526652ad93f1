"""Short ways to write a file and read it."""

from __future__ import annotations

import json
from typing import Any

from orchd.catalog.launch import FileContext
from orchd.catalog.reading import Reading, understand
from orchd.domain.ids import ModelKey
from orchd.domain.model import ContainerLaunch, Model
from orchd.domain.state import Problem, Severity

KEY = ModelKey("llm", "acme/small")


def entry(**fields: Any) -> dict[str, Any]:
    """Return a good entry with `fields` changed or added; a field that is `...` is left out."""
    base = {"pipeline": "llm", "model_id": "acme/small", "image": "acme/small:1", "price_per_unit": 1}
    return {name: value for name, value in {**base, **fields}.items() if value is not ...}


def read(*entries: Any, **outside: Any) -> Reading:
    """Return the reading of a file with these entries, one per line; `outside` as for `read_text`."""
    return read_text("[\n" + ",\n".join(map(json.dumps, entries)) + "\n]", **outside)


def read_text(text: str | bytes, *, files: dict[str, str] | None = None, **world: Any) -> Reading:
    """Return the reading of a file.

    Args:
        files: that entries may name, by name.
        world: further attributes of `FileContext`.
    """

    def read_file(name: str) -> str:
        try:
            return (files or {})[name]
        except KeyError:
            raise FileNotFoundError(2, "No such file or directory") from None

    data = text if isinstance(text, bytes) else text.encode()
    return understand(data, FileContext("aiModels.json", "/etc/orchd", read_file, **world))


def model_of(reading: Reading) -> Model:
    """Return the only model; whatever else the file has would be a surprise."""
    assert errors(reading) == []
    [model] = reading.models.values()
    return model


def container(reading: Reading) -> ContainerLaunch:
    launch = model_of(reading).launch
    assert isinstance(launch, ContainerLaunch)
    return launch


def errors(reading: Reading) -> list[Problem]:
    return [problem for problem in reading.problems if problem.severity is Severity.ERROR]


def warnings(reading: Reading) -> list[Problem]:
    return [problem for problem in reading.problems if problem.severity is Severity.WARNING]


def the_error(reading: Reading) -> Problem:
    [problem] = errors(reading)
    return problem
