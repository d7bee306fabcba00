"""No file above 300 lines, no function above 60: what is longer cannot be read in one go."""

from __future__ import annotations

from tests.house.tree import Size, file_sizes, function_sizes, functions_in

FILE_LINES_MAX = 300
FUNCTION_LINES_MAX = 60
EXEMPT: dict[str, str] = {}
"""Files and functions that may be longer, by name, with the reason."""


def too_long(sizes: list[Size], lines_max: int, exempt: dict[str, str]) -> list[str]:
    """Those above *lines_max* that are not *exempt*."""
    return [f"{size.name}: {size.lines} lines" for size in sizes if size.lines > lines_max and size.name not in exempt]


def needless(sizes: list[Size], lines_max: int, exempt: dict[str, str]) -> list[str]:
    """Exemptions of what is short enough, or gone."""
    long = {size.name for size in sizes if size.lines > lines_max}
    return sorted(set(exempt) - long)


def test_no_file_is_longer_than_300_lines() -> None:
    assert too_long(file_sizes(), FILE_LINES_MAX, EXEMPT) == []


def test_no_function_is_longer_than_60_lines() -> None:
    assert too_long(function_sizes(), FUNCTION_LINES_MAX, EXEMPT) == []


def test_every_exemption_is_still_needed_and_has_a_reason() -> None:
    files = {name: reason for name, reason in EXEMPT.items() if ":" not in name}
    functions = {name: reason for name, reason in EXEMPT.items() if ":" in name}
    assert needless(file_sizes(), FILE_LINES_MAX, files) == []
    assert needless(function_sizes(), FUNCTION_LINES_MAX, functions) == []
    assert all(EXEMPT.values())


def test_the_limits_are_inclusive_and_the_exempt_are_let_through() -> None:
    sizes = [Size("short.py", 300), Size("long.py", 301), Size("exempt.py", 400)]
    assert too_long(sizes, 300, {"exempt.py": "a table"}) == ["long.py: 301 lines"]


def test_an_exemption_of_a_short_or_vanished_file_is_found() -> None:
    exempt = {"short.py": "was long", "gone.py": "was there", "long.py": "a table"}
    assert needless([Size("short.py", 10), Size("long.py", 301)], 300, exempt) == ["gone.py", "short.py"]


def test_methods_and_inner_functions_are_measured_by_their_full_names() -> None:
    source = "class A:\n    async def b(self):\n        def c():\n            pass\n        return c\nif A:\n    def d(): ...\n"
    assert list(functions_in(source)) == [("A.b", 4), ("A.b.c", 2), ("d", 1)]
