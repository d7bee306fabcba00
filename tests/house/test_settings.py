"""Every setting is documented, and what ships can be loaded."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest

from gateway.settings.compile import compile_snapshot
from gateway.settings.load import load
from gateway.settings.schema import Config
from gateway.settings.sentences import DescribedSchema
from tests.house.tree import TOP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVIRON = {
    "DATABASE_URL": "postgresql://gateway:secret@127.0.0.1:5432/gateway",
    "GATEWAY_SECRET_KEY": base64.b64encode(bytes(32)).decode(),
}
SAMPLES = [
    TOP / "gateway.yaml",
    *(
        TOP / "config" / name
        for name in ("minimal.yaml", "sliding-window.yaml", "identity-provider.yaml", "upstreams.yaml")
    ),
]


def undocumented(schema: dict[str, Any]) -> Iterator[str]:
    """The settings of a JSON Schema that say nothing about themselves, by section."""
    sections = schema.get("$defs", {})
    for section, content in {"": schema, **sections}.items():
        for name, setting in content.get("properties", {}).items():
            # A setting that says the same as its section leaves it to the section.
            referred = sections.get(setting.get("$ref", "").removeprefix("#/$defs/"), {})
            if not (setting.get("description") or referred.get("description")):
                yield f"{section}.{name}"


def test_every_setting_is_documented() -> None:
    assert list(undocumented(Config.model_json_schema(schema_generator=DescribedSchema))) == []


def test_an_undocumented_setting_is_found() -> None:
    schema = {
        "properties": {"version": {"description": "The version of the format."}},
        "$defs": {"Log": {"properties": {"level": {}}}},
    }
    assert list(undocumented(schema)) == ["Log.level"]


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_a_settings_file_that_ships_loads_and_compiles(path: Path) -> None:
    assert compile_snapshot(load(path, ENVIRON)).scopes
