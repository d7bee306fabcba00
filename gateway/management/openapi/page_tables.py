"""Schemas as tables of the page: one row for each member, those of nested objects with dots before them."""

from __future__ import annotations

import json
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping


def resolved(document: Mapping[str, Any], thing: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what *thing* refers to in *document*, or itself; what stands beside a reference goes before."""
    if "$ref" not in thing:
        return thing
    found: Any = document
    for name in thing["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return {**found, **{name: value for name, value in thing.items() if name != "$ref"}}


def pretty(value: Any) -> str:
    """Write *value* as JSON to be read."""
    return json.dumps(value, indent=2, ensure_ascii=False)


def parameter_table(
    document: Mapping[str, Any], parameters: Iterable[Mapping[str, Any]], inline: Callable[[str], str]
) -> str:
    """Write the table of the *parameters* of an operation."""
    return _table(
        _row(
            parameter["name"],
            f"{_kind(document, parameter['schema'])} · {parameter['in']}",
            parameter["description"],
            inline,
            needed=parameter.get("required", False),
        )
        for parameter in parameters
    )


def body_table(document: Mapping[str, Any], schema: Mapping[str, Any], inline: Callable[[str], str]) -> str:
    """Write the table of all members of *schema*."""
    return _table(_rows(document, schema, inline, ""))


def _rows(
    document: Mapping[str, Any], schema: Mapping[str, Any], inline: Callable[[str], str], before: str
) -> Iterator[str]:
    schema = resolved(document, schema)
    for name, member in schema.get("properties", {}).items():
        described = resolved(document, member)
        kind = _kind(document, member)
        yield _row(
            before + name, kind, described.get("description", ""), inline, needed=name in schema.get("required", ())
        )
        inner = described.get("items", described) if described.get("type") == "array" else described
        dots = "[]." if inner is not described else "."
        yield from _rows(document, inner, inline, f"{before}{name}{dots}")


def _table(rows: Iterable[str]) -> str:
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _row(name: str, kind: str, description: str, inline: Callable[[str], str], *, needed: bool) -> str:
    mark = ' <strong class="needed">required</strong>' if needed else ""
    return (
        f'<tr><th scope="row"><code>{escape(name)}</code>{mark}<span class="kind">{escape(kind)}</span></th>'
        f"<td>{inline(description)}</td></tr>"
    )


def _kind(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Say in words what values *schema* admits."""
    schema = resolved(document, schema)
    if "anyOf" in schema:
        return " or ".join(_kind(document, kind) for kind in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    kind = str(schema.get("type", "any"))
    if kind == "array":
        kind = f"array of {_kind(document, schema['items'])}"
    return ", ".join([kind, *_bounds(schema)])


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    for least, most, unit in (
        ("minLength", "maxLength", " characters"),
        ("minItems", "maxItems", ""),
        ("minimum", "maximum", ""),
    ):
        low, high = schema.get(least), schema.get(most)
        if high is not None:
            yield f"{'up' if low is None else low} to {high}{unit}"
        elif low:
            yield f"at least {low}{unit.removesuffix('s') if low == 1 else unit}"
    if "format" in schema:
        yield schema["format"]
    if schema.get("default") is not None:
        yield f"default {schema['default']}"
