"""`orchd price`: the same amounts to a person and to a script, from the file alone."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import pytest

from orchd.cli import main
from orchd.cli.price_page import Rate, as_text, row_of
from orchd.text import TextStyle, cells
from tests.catalog.helpers import entry, model_of, read
from tests.doubles.rpc.feed import FeedServer, words
from tests.doubles.rpc.serving import KEY

MODELS = [
    entry(model_id="usd", price_per_unit=0.18, pixels_per_unit=1_000_000, currency="USD"),
    entry(model_id="hourly", price_per_unit=1.2, currency="USD", priceUnit="hour"),
    entry(model_id="wei", price_per_unit=1200),
    entry(model_id="wei", gateway="0x" + "1" * 40, price_per_unit=7),
    entry(model_id="third", price_per_unit=1, pixels_per_unit=3),
    entry(model_id="video", price_per_unit=0.5, currency="USD", price_unit="720p"),
    entry(model_id="once", price_per_unit=1e-5, currency="eth", price_unit="fixed"),
    entry(model_id="free", price_per_unit=0),
    entry(model_id="none", price_per_unit=...),
]


@pytest.fixture(autouse=True)
def settings_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    file = tmp_path / "orchd.toml"
    file.touch()
    monkeypatch.setenv("ORCHD_CONFIG", str(file))
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return file


@pytest.fixture
def models_file(tmp_path: Path) -> str:
    return write(tmp_path, MODELS)


def write(folder: Path, entries: list[Any]) -> str:
    file = folder / "aiModels.json"
    file.write_text(json.dumps(entries))
    file.chmod(0o600)
    return str(file)


def rows_of(out: str, head: str) -> dict[str, list[str]]:
    """Return the cells of each row of the table that begins with `head`, by model."""
    lines = iter(out.splitlines())
    for line in lines:
        if head in line:
            break
    found = {}
    for line in lines:
        if not line:
            break
        name, *rest = (cell.strip() for cell in line.split("  ") if cell.strip())
        found[name.removeprefix("llm/")] = rest
    return found


def test_every_price_in_every_unit_and_what_becomes_of_it(models_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["price", "--models-file", models_file, "--eth-usd", "3000"]) == 0
    out = capsys.readouterr().out
    assert rows_of(out, "WEI/SECOND") == {
        "usd": ["60000000", "216000000000", "1.8e-7", "0.000648", "60000000 wei, 1.8e-7 USD per second"],
        "hourly": ["~111111111111", "400000000000000", "~0.000333333", "1.2", "400000000000000 wei, 1.2 USD per hour"],
        "wei": ["1200", "4320000", "3.6e-12", "1.296e-8", "1200 wei, 3.6e-12 USD per second"],
        "third": ["~0.333333", "1200", "1e-15", "3.6e-12", "~0.333333 wei, 1e-15 USD per second"],
        "video": ["—", "—", "—", "—", "~166666666666667 wei, 0.5 USD per hour of 720p video"],
        "once": ["—", "—", "—", "—", "10000000000000 wei, 0.03 USD per job or session"],
        "free": ["0", "0", "0", "0", "0 wei, 0 USD per second"],
    }
    assert rows_of(out, "NODE REPORTS") == {
        "usd": ["9/50000000 USD", "60000000 wei", "0.000648 usd, hour", "60000000 wei, seconds"],
        "hourly": ["1/3000 USD", "111111111111 wei", "1.2 usd, hour", "111111111111 wei, seconds"],
        "wei": ["1200/1 wei", "1200 wei", "0.00000001296 usd, hour", "1200 wei, seconds"],
        "third": ["1/3 wei", "0 wei", "—", "—"],
        "video": ["—", "—", "0.5 usd, 720p", "1674 wei, 720p-pixel-seconds"],
        "once": ["—", "—", "0.03 usd, fixed", "10000000000000 wei, fixed"],
        "free": ["0/1 wei", "0 wei", "—", "—"],
    }
    assert "\nETH/USD 3000\n" in out


def test_each_dash_has_its_reason_and_warnings_come_first(models_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["price", "--models-file", models_file, "--eth-usd", "3000"]) == 0
    notes = capsys.readouterr().out.partition("ETH/USD 3000\n")[2].splitlines()
    about = {note[note.rindex("(") + 1 : -1]: note for note in reversed(notes)}
    assert [note.startswith("warning: ") for note in notes] == [True] * 3 + [False] * (len(notes) - 3)
    assert any("Livepeer Node takes no price per hour of 720p" in note and "llm/video" in note for note in notes)
    assert "less than 1 wei per second" in about["llm/third"]
    assert "0 (free)" in about["llm/free"]
    assert "single gateways are not published" in about["llm/wei"]
    assert "BYOC bills by the second only" in "".join(note for note in notes if "llm/video" in note)
    assert "whole job or session" in "".join(note for note in notes if "llm/once" in note)
    assert "no price of 0" in "".join(note for note in notes if "llm/free" in note)
    assert "no price_per_unit" in about["llm/none"]


def test_without_a_rate_the_other_currency_is_a_dash_with_the_way_out(
    models_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["price", "--models-file", models_file]) == 0
    out = capsys.readouterr().out
    assert rows_of(out, "WEI/SECOND")["usd"] == ["—", "—", "1.8e-7", "0.000648", "— wei, 1.8e-7 USD per second"]
    assert rows_of(out, "NODE REPORTS")["usd"] == ["9/50000000 USD", "—", "0.000648 usd, hour", "—"]
    assert rows_of(out, "NODE REPORTS")["wei"] == ["1200/1 wei", "1200 wei", "—", "—"]
    assert "\nETH/USD is not known (set orchestrator.eth_usd)\n" in out
    assert "Live Runner takes USD only" in out


def test_one_model(models_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("usd", "llm/usd"):
        assert main(["price", name, "--models-file", models_file]) == 0
        assert list(rows_of(capsys.readouterr().out, "WEI/SECOND")) == ["usd"]
    assert main(["price", "none", "--models-file", models_file]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "not offered for pay, it has no price_per_unit (llm/none)"
    assert main(["price", "nobody", "--models-file", models_file]) == 2
    assert "cannot find model 'nobody'" in capsys.readouterr().err


def test_json_is_exact(models_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["price", "--json", "--models-file", models_file, "--eth-usd", "3000"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["eth_usd"], said["eth_usd_missing"]) == ("3000", None)
    models = {model["model_id"]: model for model in said["models"]}
    assert models["hourly"] == {
        "pipeline": "llm",
        "model_id": "hourly",
        "amounts": {
            "unit": "hour",
            "wei_per_second": "1000000000000/9",
            "wei_per_hour": "400000000000000",
            "usd_per_second": "1/3000",
            "usd_per_hour": "6/5",
            "wei_per_unit": "400000000000000",
            "usd_per_unit": "6/5",
        },
        "byoc": {
            "price_per_unit": 1,
            "price_scaling": 3000,
            "currency": "USD",
            "node_reports_wei": 111111111111,
        },
        "live_runner": {
            "price": "1.2",
            "unit": "hour",
            "currency": "usd",
            "node_reports": {"price": 111111111111, "unit": "seconds", "currency": "wei"},
        },
        "sold_directly": None,
        "warnings": [],
        "unpublished_gateways": [],
    }
    assert models["none"]["amounts"] is models["none"]["byoc"] is models["none"]["live_runner"] is None
    assert "second only" in models["video"]["byoc"]["reason"]
    assert models["video"]["amounts"]["wei_per_hour"] is None
    assert "price of 0" in models["free"]["live_runner"]["reason"]
    assert models["third"]["warnings"][0]["code"] == "below_one_wei"
    assert models["wei"]["unpublished_gateways"] == ["0x" + "1" * 40]


def test_json_without_a_rate_says_why(models_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["price", "--json", "--models-file", models_file]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["eth_usd"] is None
    assert "orchestrator.eth_usd" in said["eth_usd_missing"]
    assert said["models"][0]["byoc"]["node_reports_wei"] is None
    assert said["models"][0]["live_runner"]["node_reports"] is None


@pytest.mark.parametrize("rate", ["0", "-1", "x", "1/0", "nan", "inf"])
def test_a_rate_that_is_none_is_refused(rate: str, models_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["price", "--models-file", models_file, f"--eth-usd={rate}"]) == 2
    assert f"cannot use --eth-usd {rate}" in capsys.readouterr().err


def test_errors_of_the_file_are_told_and_the_rest_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, [entry(model_id="good"), entry(model_id="bad", price_per_unit=-1)])
    assert main(["price", "--models-file", file]) == 1
    said = capsys.readouterr()
    assert "error    " in said.err
    assert "price_per_unit" in said.err
    assert list(rows_of(said.out, "WEI/SECOND")) == ["good"]
    assert main(["price", "--models-file", str(tmp_path / "absent.json")]) == 1
    said = capsys.readouterr()
    assert ("No such file" in said.err, said.out) == (True, "no models\n")


def test_the_rate_of_the_settings_is_used_and_the_flag_wins(
    models_file: str, settings_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings_file.write_text('[orchestrator]\neth_usd = "2000"\n')
    assert main(["price", "wei", "--models-file", models_file]) == 0
    assert "ETH/USD 2000\n" in capsys.readouterr().out
    assert main(["price", "wei", "--models-file", models_file, "--eth-usd", "2500.5"]) == 0
    assert "ETH/USD 2500.5\n" in capsys.readouterr().out


async def test_a_feed_is_asked_and_its_failure_is_a_reason_without_the_key(
    models_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask = ["price", "wei", "--models-file", models_file, "--orchestrator-eth-usd", "feed"]
    assert main(ask) == 0
    assert "cannot use orchestrator.eth_usd = feed without a URL" in capsys.readouterr().out
    file = tmp_path / "rpc"
    ask += ["--chain-rpc-url-file", str(file)]
    assert main(ask) == 0
    assert f"cannot read the file that chain.rpc_url_file names, {file}: No such file" in capsys.readouterr().out
    async with FeedServer.serving() as rpc:
        file.write_text(f"{rpc.url}\n")
        now = int(time.time())
        rpc.results["0xfeaf968c"] = words(1, 345678901234, now, now, 1)
        assert await asyncio.to_thread(main, ask) == 0
        assert "ETH/USD 3456.78901234\n" in capsys.readouterr().out
        rpc.results["0xfeaf968c"] = words(1, 0, now, now, 1)
        assert await asyncio.to_thread(main, ask) == 0
        said = capsys.readouterr()
        assert "its answer is not positive" in said.out
        assert KEY not in said.out + said.err


def test_notes_fit_the_terminal() -> None:
    rows = [row_of(model_of(read(entry(price_per_unit=0, model_id=f"m{number}"))), None) for number in range(30)]
    notes = as_text(rows, Rate(None, "not known"), TextStyle(width=80)).partition("not known\n")[2].splitlines()
    assert len(notes) > 5
    assert all(cells(note) <= 80 for note in notes)
