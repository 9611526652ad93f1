"""`tests/data/` holds what tests read of the ground that orchd is built on; a clone has only this copy."""

from __future__ import annotations

from pathlib import Path

import pytest

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).parents[2] / "shared"
COPIES = sorted(path.relative_to(DATA) for path in (DATA / "protocol").rglob("*") if path.is_file())


@pytest.mark.parametrize("copy", COPIES, ids=str)
def test_the_copy_is_the_original_where_that_is_at_hand(copy: Path) -> None:
    original = SHARED / copy
    if SHARED.is_dir():
        assert (DATA / copy).read_bytes() == original.read_bytes(), f"copy {original} anew"
    else:
        assert (DATA / copy).stat().st_size > 0
