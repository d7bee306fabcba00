"""Finds what the house tests talk about: source files, functions, headings."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

TOP: Final = Path(__file__).resolve().parents[2]
SOURCE_DIRECTORIES: Final = ("gateway", "deploy", "tests")
SOURCE_SUFFIXES: Final = {".py", ".lua", ".sql"}
_HEADING: Final = re.compile(r"^###+ `([^`]+)`", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Size:
    """A file or function, named by its place in the project, and its lines."""

    name: str
    lines: int


def source_files() -> list[Path]:
    """Every source file of ours."""
    return sorted(
        path
        for directory in SOURCE_DIRECTORIES
        for path in (TOP / directory).rglob("*")
        if path.suffix in SOURCE_SUFFIXES
    )


@cache
def file_sizes() -> list[Size]:
    """Every source file with its lines."""
    return [Size(str(path.relative_to(TOP)), len(path.read_text().splitlines())) for path in source_files()]


@cache
def function_sizes() -> list[Size]:
    """Every Python function with its lines, decorators not included."""
    return [
        Size(f"{path.relative_to(TOP)}:{name}", lines)
        for path in source_files()
        if path.suffix == ".py"
        for name, lines in functions_in(path.read_text())
    ]


def functions_in(source: str) -> Iterator[tuple[str, int]]:
    """Each function of a module as (qualified name, lines)."""

    def visit(node: ast.AST, prefix: str) -> Iterator[tuple[str, int]]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from visit(child, prefix)
                continue
            name = f"{prefix}{child.name}"
            if not isinstance(child, ast.ClassDef):
                yield name, (child.end_lineno or child.lineno) - child.lineno + 1
            yield from visit(child, f"{name}.")

    yield from visit(ast.parse(source), "")


def headings(document: str) -> set[str]:
    """The names that *document* has a heading of its own for: `### `name` ...`."""
    return set(_HEADING.findall(document))


def packages(directory: Path, name: str) -> dict[str, set[str]]:
    """The modules of each package in *directory*, by the package's dotted name."""
    found: dict[str, set[str]] = {}
    for init in directory.rglob("__init__.py"):
        place = init.parent
        dotted = ".".join((name, *place.relative_to(directory).parts))
        found[dotted] = {path.stem for path in place.glob("*.py") if path.stem != "__init__"}
    return found
