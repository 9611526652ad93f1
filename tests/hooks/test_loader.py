"""Hooks of the operator's: found, checked, made with their options; each error says where, what, and what to do."""

from __future__ import annotations

import itertools
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from orchd.errors import Code, HookError, SettingsError
from orchd.hooks import trust
from orchd.hooks.entries import HookEntry, entries
from orchd.hooks.hook import JobHook
from orchd.hooks.loader import load_hook
from orchd.hooks.settings import HooksSettings
from orchd.hooks.trust import check_trusted
from orchd.settings.load import differences, load_settings
from orchd.settings.tree import Settings

HOOK = """
from pydantic import Field
from orchd.hooks.api import HookOptions, JobHook

class Options(HookOptions):
    price_wei: int = Field(ge=0)
    names: tuple[str, ...] = ()

class Paywall(JobHook):
    Options = Options

class Plain(JobHook):
    pass

class NoHook:
    pass

class Breaks(JobHook):
    def __init__(self, options):
        raise RuntimeError("no database")
"""
_numbers = itertools.count()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for hooks, as an operator would have it."""
    folder = tmp_path / "hooks"
    folder.mkdir(mode=0o755)
    return folder


def a_module(folder: Path, text: str = HOOK) -> str:
    """Write a module under a name that no other test uses, and return that."""
    name = f"hook_of_test_{os.getpid()}_{next(_numbers)}"
    (folder / f"{name}.py").write_text(text)
    return name


def hooks_of(folder: Path, *order: str, toml: str = "") -> HooksSettings:
    """Return the section as it is read from a file."""
    file = folder.parent / "orchd.toml"
    listed = ", ".join(f'"{each}"' for each in order)
    file.write_text(f'[hooks]\norder = [{listed}]\npath = ["{folder}"]\n{toml}')
    return load_settings(argv={}, env={}, file=file).hooks


def loaded(settings: HooksSettings) -> list[JobHook]:
    return [load_hook(entry, settings) for entry in entries(settings) if entry.module]


def refused(settings: HooksSettings) -> str:
    with pytest.raises(HookError) as caught:
        loaded(settings)
    assert caught.value.code is Code.HOOK_INVALID
    assert all(line.startswith("cannot ") for line in caught.value.message.splitlines())
    return caught.value.message


def test_a_hook_is_loaded_from_the_path_with_its_options(folder: Path) -> None:
    name = a_module(folder)
    (hook,) = loaded(hooks_of(folder, f"{name}:Paywall", toml=f'[hooks.{name}]\nprice_wei = 7\nnames = ["a", "b"]\n'))
    assert type(hook).__name__ == "Paywall"
    assert hook.options.model_dump() == {"price_wei": 7, "names": ("a", "b")}
    assert isinstance(hook, JobHook)


def test_a_hook_may_stand_twice_under_two_names(folder: Path) -> None:
    name = a_module(folder)
    toml = "[hooks.one]\nprice_wei = 1\n[hooks.two]\nprice_wei = 2\n"
    hooks = loaded(hooks_of(folder, f"one={name}:Paywall", "node-token", f"two={name}:Paywall", toml=toml))
    assert [hook.options.model_dump()["price_wei"] for hook in hooks] == [1, 2]


def test_a_hook_in_a_package_is_named_by_its_last_part_and_may_import_its_neighbours(folder: Path) -> None:
    (package := folder / a_module(folder)).mkdir()
    (package / "__init__.py").write_text("")
    (package / "prices.py").write_text("PRICE = 3\n")
    (package / "gate.py").write_text(
        f"from orchd.hooks.api import JobHook\nfrom {package.name}.prices import PRICE\n"
        "class Gate(JobHook):\n    price = PRICE\n"
    )
    (folder / f"{package.name}.py").unlink()
    settings = hooks_of(folder, f"{package.name}.gate:Gate", toml="[hooks.gate]\n")
    assert entries(settings) == (HookEntry("gate", f"{package.name}.gate", "Gate"),)
    (hook,) = loaded(settings)
    assert getattr(hook, "price") == 3  # noqa: B009 - mypy does not know the class


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (["node-tokn"], r"there is no hook 'node-tokn' \(did you mean node-token\?\); your own are named as module:Cl"),
        (["x=node-token"], "there is no hook 'x=node-token'"),
        (["a:"], "'a:' is no hook; write module:Class"),
        ([":A"], "':A' is no hook"),
        (["../evil:A"], "'../evil:A' is no hook"),
        (["a b=c:D"], "'a b=c:D' is no hook"),
        (["c:D", "c:E"], "two hooks are named c; give one another name, such as c2=c:E"),
        (["node-token", "node-token"], "two hooks are named node-token"),
        (["node-token=c:D"], "the name node-token is taken"),
        (["order:D"], "the name order is taken; write NAME=order:D"),
    ],
)
def test_an_order_that_can_not_be_read_is_refused(order: list[str], said: str) -> None:
    with pytest.raises(HookError, match=f"^cannot use hooks.order: {said}"):
        entries(HooksSettings(order=tuple(order)))


def test_a_table_of_no_hook_is_refused_with_its_line(folder: Path) -> None:
    text = refused(hooks_of(folder, "node-token", toml="\n[hooks.node-tokem]\na = 1\n"))
    assert f"cannot use [hooks.node-tokem] ({folder.parent / 'orchd.toml'}:5): hooks.order names no hook" in text
    assert "did you mean node-token?" in text


def test_options_of_a_hook_that_has_none_are_refused(folder: Path) -> None:
    text = refused(hooks_of(folder, "node-token", toml="\n[hooks.node-token]\na = 1\n"))
    assert f"cannot use [hooks.node-token] ({folder.parent / 'orchd.toml'}:5): node-token comes with orchd" in text


@pytest.mark.parametrize(
    ("type_name", "toml", "said"),
    [
        ("Paywall", "", r"^cannot use hooks\.NAME\.price_wei: Field required$"),
        (
            "Paywall",
            "[hooks.NAME]\nprice_wei = -1\n",
            r"^cannot use hooks\.NAME\.price_wei \(FILE:5\): Input",
        ),
        (
            "Paywall",
            "[hooks.NAME]\nprice_wei = 1\n\nprice_we = 2\n",
            r"^cannot use unknown option hooks\.NAME\.price_we \(FILE:7\) \(did you mean price_wei\?\); the hook has",
        ),
        ("Plain", "[hooks.NAME]\na = 2\n", r"^cannot use unknown option hooks\.NAME\.a \(FILE:5\); the hook has none$"),
        ("Paywal", "", r"has no Paywal \(did you mean Paywall\?\)$"),
        ("NoHook", "", r"NoHook in .* is no class derived from orchd\.hooks\.api\.JobHook$"),
        ("HOOK", "", r"has no HOOK"),
        (
            "Breaks",
            "",
            r"the hook NAME: making Breaks failed: RuntimeError: no database at .*NAME\.py:\d+",
        ),
    ],
)
def test_a_hook_that_can_not_be_made_is_refused(folder: Path, type_name: str, toml: str, said: str) -> None:
    name = a_module(folder)
    text = refused(hooks_of(folder, f"{name}:{type_name}", toml=toml.replace("NAME", name)))
    file = re.escape(str(folder.parent / "orchd.toml"))
    assert re.search(said.replace("NAME", name).replace("FILE", file), text), text


def test_several_wrong_options_are_all_said(folder: Path) -> None:
    name = a_module(folder)
    text = refused(hooks_of(folder, f"{name}:Paywall", toml=f"[hooks.{name}]\na = 1\nb = 2\n"))
    assert len(text.splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module_at_all\n", r"ModuleNotFoundError: No module named 'no_such_module_at_all' at .*:1$"),
        ("\nraise SystemExit(3)\n", r"SystemExit: 3 at .*:2$"),
        ("\n\ndef broken(:\n", r"SyntaxError: .* at .*:3$"),
        ("raise ValueError('Bearer 0123456789abcdef0123')\n", r"ValueError: Bearer \*\*\* at"),
    ],
)
def test_a_module_that_can_not_be_imported_is_refused(folder: Path, text: str, said: str) -> None:
    name = a_module(folder, text)
    message = refused(hooks_of(folder, f"{name}:A"))
    assert message.startswith(f"cannot load the hook {name}: importing {folder / name}.py failed: ")
    assert re.search(said, message), message


def test_what_a_module_raises_beside_errors_is_told_too(folder: Path) -> None:
    name = a_module(folder, "import asyncio\nraise asyncio.CancelledError\n")
    assert f"importing {folder / name}.py failed: CancelledError" in refused(hooks_of(folder, f"{name}:A"))
    name = a_module(folder, HOOK.replace('RuntimeError("no database")', "SystemExit(3)"))
    assert "making Breaks failed: SystemExit: 3" in refused(hooks_of(folder, f"{name}:Breaks"))


def test_options_that_fail_while_they_are_checked_are_told_with_their_hook(folder: Path) -> None:
    checks = "class Options(HookOptions):\n    @model_validator(mode='before')\n    def f(cls, v): return {}['zone']\n"
    text = HOOK.replace("import Field", "import Field, model_validator")
    name = a_module(folder, text.replace("class Paywall", f"{checks}\nclass Paywall"))
    said = f"cannot load the hook {name}: checking its options failed: KeyError: 'zone' at "
    assert refused(hooks_of(folder, f"{name}:Paywall")).startswith(said)


def test_a_module_of_which_python_can_not_say_where_it_is_from_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "made_by_hand", ModuleType("made_by_hand"))  # As __main__ of a console script.
    assert "the module made_by_hand is in none of" in refused(hooks_of(folder, "main=made_by_hand:A"))


def test_a_module_that_is_nowhere_is_refused(folder: Path) -> None:
    text = refused(hooks_of(folder, "no_such_hook:A"))
    assert f"the module no_such_hook is in none of {folder} and is not installed; put no_such_hook.py there" in text
    with pytest.raises(HookError, match=r"is not in hooks\.path, which is empty"):
        loaded(HooksSettings(order=("no_such_hook:A",)))


def test_a_module_with_the_name_of_another_one_is_refused(folder: Path) -> None:
    """What is Python's or orchd's is never replaced by what lies in a folder of hooks."""
    (folder / "statistics.py").write_text(HOOK)
    text = refused(hooks_of(folder, "statistics:Plain"))
    assert "Python finds another module named statistics first" in text
    assert str(folder) not in sys.path[:-1]


@pytest.mark.parametrize("path", ["relative", "/no/such/folder"])
def test_a_path_that_is_no_folder_is_refused(path: str) -> None:
    with pytest.raises(HookError, match=r"hooks\.path names"):
        loaded(HooksSettings(order=("a:B",), path=(path,)))


# Who can write there.


def writable(folder: Path, what: str) -> Path:
    """Let others write to what is named, and return that."""
    place = {"file": next(folder.glob("*.py")), "folder": folder, "above": folder.parent}.get(what, folder / what)
    if not place.exists():
        place.write_text("X = 1\n")
    place.chmod(place.stat().st_mode | 0o002)
    return place


@pytest.mark.parametrize("what", ["file", "folder", "above", "neighbour.py", "data.json"])
def test_what_others_can_write_is_not_imported(folder: Path, what: str) -> None:
    name = a_module(folder, f"{HOOK}\nimport pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n")
    place = writable(folder, what)
    text = refused(hooks_of(folder, f"{name}:Plain"))
    assert f"cannot load the hook {name}: {place} can be written by everybody (mode " in text
    assert text.endswith("and orchd would run what they write: chmod go-w it")
    assert not (folder / "ran").exists()
    place.chmod(place.stat().st_mode & ~0o022)
    assert loaded(hooks_of(folder, f"{name}:Plain"))


def test_what_a_group_can_write_is_not_imported(folder: Path) -> None:
    name = a_module(folder)
    (folder / f"{name}.py").chmod(0o660)
    assert f"can be written by group {os.getegid()} (mode 0660)" in refused(hooks_of(folder, f"{name}:Plain"))


def test_what_belongs_to_another_user_is_not_imported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    name = a_module(folder)
    os.chown(folder / f"{name}.py", 12345, -1)
    assert "belongs to user 12345, who could change it" in refused(hooks_of(folder, f"{name}:Plain"))


def test_a_link_is_as_good_as_what_it_leads_to(folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    name = a_module(elsewhere)
    (folder / f"{name}.py").symlink_to(elsewhere / f"{name}.py")
    elsewhere.chmod(0o777)
    assert f"{elsewhere} can be written by everybody" in refused(hooks_of(folder, f"{name}:Plain"))
    elsewhere.chmod(0o755)
    assert loaded(hooks_of(folder, f"{name}:Plain"))


def test_links_that_lead_in_a_circle_are_followed_once(folder: Path) -> None:
    name = a_module(folder)
    (folder / "itself").symlink_to(".")
    (folder / "above").symlink_to("..")
    assert loaded(hooks_of(folder, f"{name}:Plain"))
    (folder.parent / "x.json").write_text("{}")
    (folder.parent / "x.json").chmod(0o666)
    assert "x.json can be written by everybody" in refused(hooks_of(folder, f"{name}:Plain"))


def test_a_folder_with_very_many_files_is_not_searched_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust, "MAX_FILES", 3)
    for number in range(4):
        (folder / f"{number}.txt").write_text("")
    with pytest.raises(HookError, match="holds more than 3 files"):
        check_trusted(folder, "the hook x")


def test_a_place_that_is_not_there_is_an_error_of_ours(folder: Path) -> None:
    with pytest.raises(HookError, match=r"cannot load the hook x: .*none: No such file"):
        check_trusted(folder / "none", "the hook x")


# The settings.


def test_free_tables_are_for_hooks_alone_and_no_flag_names_them(tmp_path: Path) -> None:
    file = tmp_path / "orchd.toml"
    file.write_text("[jobs.mine]\na = 1\n")
    with pytest.raises(SettingsError, match=r"unknown setting jobs\.mine"):
        load_settings(argv={}, env={}, file=file)
    with pytest.raises(SettingsError, match="unknown setting ORCHD_HOOKS_TABLES"):
        load_settings(argv={}, env={"ORCHD_HOOKS_TABLES": "a"}, file=None)


def test_order_and_path_come_from_flags_and_environment_too() -> None:
    env = {"ORCHD_HOOKS_ORDER": "node-token,a:B"}
    hooks = load_settings(argv={"hooks.path": "/a, /b"}, env=env, file=None).hooks
    assert (hooks.order, hooks.path) == (("node-token", "a:B"), ("/a", "/b"))


def test_an_edit_of_options_is_a_difference_and_shows_no_value(folder: Path) -> None:
    def with_key(key: str) -> Settings:
        file = folder.parent / "orchd.toml"
        file.write_text(f'[hooks]\norder = ["a:B"]\n[hooks.a]\nkey = "{key}"\n')
        return load_settings(argv={}, env={}, file=file)

    assert differences(with_key("one"), with_key("two")) == ["hooks.a"]
    assert differences(with_key("one"), with_key("one")) == []
    assert "one" not in repr(with_key("one"))


def test_the_default_asks_the_nodes_token() -> None:
    assert HooksSettings().order == ("node-token",)
