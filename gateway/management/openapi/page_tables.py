"""Schemas as tables of the page: one row for each member, those of nested objects with dots before them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from gateway.management.openapi.page_text import inline

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


def resolved(document: Mapping[str, Any], thing: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give what *thing* refers to in *document*, or itself; what stands beside a reference goes before."""
    if "$ref" not in thing:
        return thing
    found: Any = document
    for name in thing["$ref"].removeprefix("#/").split("/"):
        found = found[name]
    return {**found, **{name: value for name, value in thing.items() if name != "$ref"}}


def parameter_table(document: Mapping[str, Any], parameters: Iterable[Mapping[str, Any]]) -> str:
    """Write the table of the *parameters* of an operation."""
    return _table(
        _row(
            parameter["name"],
            f"{_kind(document, parameter['schema'])} · {parameter['in']}",
            parameter["description"],
            "required" if parameter.get("required") else "",
        )
        for parameter in parameters
    )


def request_table(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Write the table of all members that a body may have: the needed ones are marked."""
    return _table(_rows(document, schema, ("required", "")))


def answer_table(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Write the table of all members that an answer may have: those that may be missing are marked."""
    return _table(_rows(document, schema, ("", "not always")))


def _rows(
    document: Mapping[str, Any], schema: Mapping[str, Any], marks: tuple[str, str], before: str = ""
) -> Iterator[str]:
    """Write a row for each member; *marks* are for those that are always there, and for the others."""
    schema = resolved(document, schema)
    for name, member in schema.get("properties", {}).items():
        described = resolved(document, member)
        mark = marks[name not in schema.get("required", ())]
        yield _row(before + name, _kind(document, member), described.get("description", ""), mark)
        is_array = described.get("type") == "array"
        inner = described["items"] if is_array else described
        yield from _rows(document, inner, marks, f"{before}{name}{'[]' if is_array else ''}.")


def _table(rows: Iterable[str]) -> str:
    return f"<table><tbody>{''.join(rows)}</tbody></table>"


def _row(name: str, kind: str, description: str, mark: str) -> str:
    marked = f' <strong class="mark">{mark}</strong>' if mark else ""
    return (
        f'<tr><th scope="row"><code>{escape(name)}</code>{marked}<span class="kind">{escape(kind)}</span></th>'
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
        ("minItems", "maxItems", " items"),
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
