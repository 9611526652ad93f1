"""Rules about the whole package that import contracts can't say: cycles, pure files, names of classes.

The contracts themselves stand in pyproject.toml; `lint-imports` checks them.
"""

from __future__ import annotations

import ast
import builtins
import keyword
import re
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

import orchd
from orchd.advertise import registries

PACKAGE = Path(orchd.__file__).parent
OUTSIDE = {
    *("asyncio", "concurrent", "multiprocessing", "os", "pathlib", "random", "secrets", "selectors", "shutil"),
    *("socket", "ssl", "subprocess", "tempfile", "threading", "time"),
}
"""Modules of the standard library by which a file reaches out: to the system, a clock, chance or other threads."""


SECTIONS = ("Args:", "Attributes:", "Raises:", "Returns:", "Yields:")


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> Mapping[str, ast.Module]:
    """Return every module of the package, parsed."""
    return {module_name(path): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def imports(tree: ast.Module, known: Iterable[str] = ()) -> Iterator[str]:
    """Yield the modules that a file imports, anywhere in it: under TYPE_CHECKING and in functions, too.

    Args:
        known: modules; `from package import name` is an import of `package.name` where that is one of them.
    """
    known = set(known)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            inner = names & known
            yield from inner
            if names - inner:
                yield node.module


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import one another in a circle (Tarjan)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in graph.get(module, ()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            at = stack.index(module)
            group = stack[at:]
            del stack[at:]
            if len(group) > 1 or module in graph.get(module, ()):
                found.append(sorted(group))

    for module in graph:
        if module not in index:
            visit(module)
    return found


def test_no_modules_import_one_another_in_a_circle() -> None:
    """Not even for types alone: who holds whom would not be told by a direction any more."""
    known = modules().keys()
    graph = {name: {other for other in imports(tree, known) if other in known} for name, tree in modules().items()}
    assert len(graph) > 100
    assert cycles(graph) == []


def test_a_circle_is_found_wherever_it_is_written() -> None:
    source = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p.b import B\ndef f():\n    import p.c\n"
    assert set(imports(ast.parse(source), {"p.b", "p.c"})) == {"typing", "p.b", "p.c"}
    assert set(imports(ast.parse("from p import b, C"), {"p", "p.b"})) == {"p", "p.b"}
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": set()}) == [["a", "b", "c"]]
    assert cycles({"a": {"a"}}) == [["a"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_nothing_names_a_registry() -> None:
    """`advertise.registries` finds their folders; registries know nothing of each other."""
    folders = [f"orchd.advertise.{name.replace('-', '_')}" for name in registries.names()]
    assert len(folders) > 1
    assert sorted(named_across(folders, modules())) == []
    outside = {"orchd.app": ast.parse(f"from {folders[0]} import ABOUT")}
    between = {f"{folders[1]}.plan": ast.parse(f"def late():\n    import {folders[0]}.plan")}
    inside = {f"{folders[0]}.plan": ast.parse(f"from {folders[0]}.wire import X")}
    for tree, expected in ((outside, ["orchd.app"]), (between, [f"{folders[1]}.plan"]), (inside, [])):
        assert [*named_across(folders, tree)] == expected


def named_across(folders: Iterable[str], trees: Mapping[str, ast.Module]) -> Iterator[str]:
    """Yield the modules that import something of one of the folders from outside it."""
    for name, tree in trees.items():
        for folder in folders:
            inner = f"{folder}."
            if not f"{name}.".startswith(inner) and any(f"{each}.".startswith(inner) for each in imports(tree)):
                yield name


def test_every_module_has_its_layer() -> None:
    """The contract of the layers says nothing of a folder that it does not name."""
    contracts = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [each["layers"] for each in contracts if each["type"] == "layers"]
    named = {name.strip() for layer in layers for name in layer.split("|")}
    above = {"orchd", "orchd.settings"}  # Their files are named one by one.
    without = {name for name in modules() if not any(f"{name}.".startswith(f"{each}.") for each in named)}
    assert without == above


def is_pure(tree: ast.Module) -> bool:
    """Return whether a file calls itself pure: its docstring says `Pure`."""
    return re.search(r"\bPure\b", ast.get_docstring(tree) or "") is not None


def test_files_that_call_themselves_pure_reach_for_nothing_outside() -> None:
    """They decide, from values; clocks, chance, files, sockets and the loop are others' business."""
    pure = {name: tree for name, tree in modules().items() if is_pure(tree)}
    assert len(pure) > 10
    reaching = {
        name: found
        for name, tree in pure.items()
        if (found := {module.partition(".")[0] for module in imports(tree)} & OUTSIDE)
    }
    assert reaching == {}


def test_the_modules_that_pure_files_may_not_import_exist() -> None:
    assert sys.stdlib_module_names >= OUTSIDE


def test_each_class_has_a_name_of_its_own() -> None:
    """One word, one thing: who reads of a `Reply` needs no second look at which one it is."""
    places: dict[str, list[str]] = defaultdict(list)
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                places[node.name.lstrip("_")].append(module)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def public_docstrings() -> Iterator[tuple[str, str]]:
    """Yield the docstrings of all that has a public name, with its place."""
    for module, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
                name = getattr(node, "name", "")
                if not name.startswith("_") and (text := ast.get_docstring(node)):
                    yield f"{module}:{name}", text


def test_every_public_docstring_begins_with_a_summary() -> None:
    found = dict(public_docstrings())
    assert len(found) > 1000
    without = {place for place, text in found.items() if text.startswith(SECTIONS)}
    assert without == set()


ELSEWHERE = {
    *("latestRoundData", "MaxSessions", "comment", "docker_image"),  # of a contract, of go-livepeer's own JSON
    *("increase", "_total"),  # of Prometheus
    *("ext4", "hidepid", "ThreadPoolExecutor", "Content_Length", "byoc_", "stack_t"),
}
"""What docstrings name that is of other programs."""


def docstrings(tree: ast.Module) -> Iterator[ast.Constant]:
    """Yield the docstrings of a file, those that stand below an assignment included."""
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else []:
            match statement:
                case ast.Expr(value=ast.Constant(value=str()) as text):
                    yield text


def words_of(tree: ast.Module) -> Iterator[str]:
    """Yield each name that stands in the code, and each word of its texts."""
    prose = {id(text) for text in docstrings(tree)}
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.keyword(arg=str(name)):
                yield name
            case ast.alias(name=name):
                yield from name.split(".")
            case ast.Constant(value=str(text)) if id(node) not in prose:
                yield from re.findall(r"\w+", text)
            case ast.Constant(value=bytes(text)):
                yield from re.findall(r"\w+", text.decode("latin-1"))


def test_names_in_docstrings_exist() -> None:
    """A name in backticks that is nowhere in the code sends its reader looking for nothing."""
    known = {word for tree in modules().values() for word in words_of(tree)}
    known |= {part for module in modules() for part in module.split(".")}
    known |= ELSEWHERE | set(dir(builtins)) | set(keyword.kwlist) | sys.stdlib_module_names
    unknown, seen = set(), 0
    for module, tree in modules().items():
        for text in docstrings(tree):
            for name in re.findall(r"`([A-Za-z_]\w*(?:\.\w+)*)(?:\(\))?`", str(text.value)):
                if name.endswith((".py", ".md", ".json", ".toml", ".sql")):
                    continue  # See below.
                seen += 1
                if not set(name.split(".")) <= known:
                    unknown.add(f"{module}:{text.lineno}: {name}")
    assert seen > 800
    assert unknown == set()


def test_files_that_docstrings_name_exist() -> None:
    root = PACKAGE.parent
    missing, seen = set(), 0
    for module, tree in modules().items():
        path = PACKAGE.parent.joinpath(*module.split("."))
        folder = path if path.is_dir() else path.parent
        for text in docstrings(tree):
            for name in re.findall(r"`([a-z0-9_.-]+/[a-z0-9_./-]+\.(?:py|md|sql|toml))`", str(text.value)):
                seen += 1
                if not any((place / name).exists() for place in (root, PACKAGE, folder, folder.parent)):
                    missing.add(f"{module}:{text.lineno}: {name}")
    assert seen >= 10
    assert missing == set()


def test_no_statement_numbers_its_placeholders() -> None:
    """Python 3.12 warns of `?1` each time it is given a sequence, and 3.14 refuses it."""
    texts = [
        (module, node)
        for module, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and re.search(r"\b(SELECT|INSERT|UPDATE|DELETE)\b", str(node.value))
    ]
    assert len(texts) > 50
    assert [f"{module}:{node.lineno}" for module, node in texts if re.search(r"\?\d", str(node.value))] == []
