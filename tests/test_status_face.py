"""Status is made of what the parts offer: each in its own `status.py`, cheap to import, each field once."""

from __future__ import annotations

import subprocess
import sys

from orchd.domain.state import Snapshot
from orchd.parts import faces
from orchd.status_face import status_faces
from tests.fakes.snapshots import NODE, beside

HEAVY = {"aiohttp", "asyncio", "docker", "prometheus_client", "pydantic", "sqlite3", "structlog", "watchfiles"}


def test_each_field_is_of_one_part_and_each_section_has_a_place_of_its_own() -> None:
    shown = beside(NODE)
    whole = [name for face in status_faces() for name in face.whole(shown)]
    assert sorted(whole) == sorted(set(whole))
    assert whole == [name for face in status_faces() for name in face.whole(Snapshot())], "whatever there is"
    for model in shown.models.values():
        fields = [name for face in status_faces() for name in face.of_model(model)]
        assert sorted(fields) == sorted(set(fields))
    for page in ("overview", "model_page"):
        places = [place for face in status_faces() for place in getattr(face, page)]
        assert sorted(places) == sorted(set(places))


def test_a_face_imports_nothing_heavy() -> None:
    names = ", ".join(module.__name__ for module in faces("status"))
    code = f"import sys, {names}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert HEAVY & set(found.stdout.split()) == set()
