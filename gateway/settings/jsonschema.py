"""Generates the JSON Schema of `gateway.yaml` for editors: `python -m gateway.settings.jsonschema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from gateway.settings.schema import Config
from gateway.settings.sentences import DescribedSchema

SCHEMA_PATH: Final = Path("config/gateway.schema.json")

_REFERENCE: Final = {"type": "string", "pattern": r"\$\{.+\}"}
_KEPT_OUTSIDE: Final = ("description", "default")


def json_schema() -> str:
    """Give the schema as the text of its file."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_with_references(Config.model_json_schema(schema_generator=DescribedSchema)),
        "title": "gateway.yaml",
    }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _with_references(node: Any) -> Any:
    """Allow `${VAR}` wherever anything but free text stands, and drop the titles, which only repeat the names."""
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {
        key: value if key == "propertyNames" else _with_references(value)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
    }
    restricted = "enum" in result or "const" in result or result.get("type") in {"integer", "number", "boolean"}
    if not restricted:
        return result
    outside = {key: result.pop(key) for key in _KEPT_OUTSIDE if key in result}
    return {**outside, "anyOf": [result, _REFERENCE]}


if __name__ == "__main__":
    SCHEMA_PATH.write_text(json_schema(), encoding="utf-8")
