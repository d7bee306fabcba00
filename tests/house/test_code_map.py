"""ARCHITECTURE.md's code map lists every package with exactly the modules that it has."""

from __future__ import annotations

import re

from tests.house.tree import TOP, packages

_ROW = re.compile(r"^\| `(gateway[\w/]*)/` \|[^|]+\|([^|]+)\|$", re.MULTILINE)


def mapped(document: str) -> dict[str, set[str]]:
    """The modules of each package as the code map has them."""
    return {path.replace("/", "."): set(re.findall(r"`(\w+)`", modules)) for path, modules in _ROW.findall(document)}


def differences(on_disk: dict[str, set[str]], on_map: dict[str, set[str]]) -> list[str]:
    """What is there and not listed, or listed and not there."""
    found: list[str] = []
    for package in sorted(set(on_disk) | set(on_map)):
        there, listed = on_disk.get(package), on_map.get(package)
        if listed is None:
            found.append(f"{package} is missing from the code map")
        elif there is None:
            found.append(f"{package} is on the code map, but gone")
        else:
            found += [f"{package}.{name} is missing from the code map" for name in sorted(there - listed)]
            found += [f"{package}.{name} is on the code map, but gone" for name in sorted(listed - there)]
    return found


def test_the_code_map_lists_every_module_and_nothing_else() -> None:
    document = (TOP / "ARCHITECTURE.md").read_text()
    assert differences(packages(TOP / "gateway", "gateway"), mapped(document)) == []


def test_what_is_missing_and_what_is_gone_is_found() -> None:
    document = "| `gateway/core/` | Decides. | `keys` · `old` |\n| `gateway/gone/` | Was. | none |\n"
    on_disk = {"gateway.core": {"keys", "paths"}, "gateway.proxy": {"read"}}
    assert differences(on_disk, mapped(document)) == [
        "gateway.core.paths is missing from the code map",
        "gateway.core.old is on the code map, but gone",
        "gateway.gone is on the code map, but gone",
        "gateway.proxy is missing from the code map",
    ]
