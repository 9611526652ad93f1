"""What two trees' figures are taken for."""

from __future__ import annotations

import pytest

from tests.bench.compare import FIGURES, table, told, verdict
from tests.bench.proxy import _tell
from tests.bench.proxy_loads import Sample


def test_what_the_bench_tells_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    _tell(0, "small1", "orchd", Sample(per_s=5432.1, p50_us=1234.0, p99_us=0.0, cpu_us=98.76, memory=0.0))
    _tell(0, "sse", "orchd", Sample(per_s=10.0, p50_us=1.0, p99_us=0.0, cpu_us=2.0, memory=4096.0))
    _tell(0, "small1", "nginx", Sample(per_s=1.0, p50_us=1.0, p99_us=0.0, cpu_us=1.0, memory=0.0))
    found = told(capsys.readouterr().err.splitlines())
    assert found["small1", "rate"] == [5432]
    assert found["small1", "p50"] == [1234]
    assert found["small1", "cpu"] == [98.8]
    assert found["sse", "rate"] == [10]


@pytest.mark.parametrize(
    ("figure", "old", "new", "said"),
    [
        ("cpu", [100, 101, 102], [103, 104, 105], "same"),
        ("cpu", [100, 101, 120], [110, 115, 130], "same"),
        ("cpu", [100, 101, 102], [110, 115, 130], "worse"),
        ("cpu", [110, 115, 130], [100, 101, 102], "better"),
        ("rate", [100, 101, 102], [110, 115, 130], "better"),
        ("rate", [110, 115, 130], [100, 101, 102], "worse"),
    ],
)
def test_worse_is_what_is_5_percent_off_and_out_of_range(
    figure: str, old: list[float], new: list[float], said: str
) -> None:
    assert verdict(FIGURES[figure], old, new) == said


def test_only_what_both_have_is_in_the_table() -> None:
    old, new = {("up", "cpu"): [10.0], ("ws", "cpu"): [1.0]}, {("up", "cpu"): [12.0]}
    (row,) = table(old, new).rows
    assert row.cells == ("up", "CPU", "10.0 (10.0 to 10.0)", "12.0 (12.0 to 12.0)", "1.200", "worse")
