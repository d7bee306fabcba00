"""The API's document as a page for people: one HTML file that loads nothing, needs no JavaScript and has anchors."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

from gateway.management.openapi.page_tables import answer_table, parameter_table, request_table, resolved
from gateway.management.openapi.page_text import code, inline, listing, paragraphs, pretty

if TYPE_CHECKING:
    from collections.abc import Mapping

_PARAMETER: Final = re.compile(r"\{(\w+)\}")
_AUTHORIZATION: Final = {"login": "TOKEN", "apiKey": "KEY"}
_SETTING: Final = """\
API=https://gateway.example.com      # the address that you read this at
TOKEN=...                            # from the login
KEY=...                              # an API key, from its creation
ID=...                               # the id of an API key"""


@cache
def _style() -> str:
    return files(__package__).joinpath("page.css").read_text(encoding="utf-8")


@cache
def content_security_policy() -> str:
    """Give what the page may do: show itself with its own style, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def docs_page(document: Mapping[str, Any]) -> str:
    """Write the page of *document*."""
    title = escape(document["info"]["title"])
    groups = _by_tag(document)
    common = _common(document)
    sections = "".join(_section(document, tag, operations, common) for tag, operations in groups.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} API</title>
<style>{_style()}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header><h1>{title} <small>API {escape(document["info"]["version"])}</small></h1>
<a href="openapi.json">openapi.json</a></header>
<nav aria-label="Operations">{_navigation(groups)}</nav>
<main id="content">
<section id="about"><h2>About</h2>{paragraphs(document["info"]["description"])}</section>
<section id="authentication"><h2>Authentication</h2>{_authentication(document)}
<p>The examples use these variables:</p>{code(_SETTING)}</section>
<section id="scopes"><h2>Scopes</h2>{paragraphs(document["components"]["schemas"]["Scope"]["description"])}</section>
<section id="refusals"><h2>Refusals</h2><p>What any request may get:</p>{_answers(document, common)}</section>
{sections}
</main>
</body>
</html>
"""


def _by_tag(document: Mapping[str, Any]) -> dict[str, list[tuple[str, str, dict[str, Any]]]]:
    """Give the operations as method, path and description, by their tag and in its order."""
    groups: dict[str, list[tuple[str, str, dict[str, Any]]]] = {tag["name"]: [] for tag in document["tags"]}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            groups[operation["tags"][0]].append((method.upper(), path, operation))
    return {tag: operations for tag, operations in groups.items() if operations}


def _common(document: Mapping[str, Any]) -> dict[str, Any]:
    """Give the responses that every operation has."""
    every = [operation["responses"] for methods in document["paths"].values() for operation in methods.values()]
    first = every[0] if every else {}
    return {status: response for status, response in first.items() if all(has.get(status) == response for has in every)}


def _navigation(groups: Mapping[str, list[tuple[str, str, dict[str, Any]]]]) -> str:
    links = [("about", "About"), ("authentication", "Authentication"), ("scopes", "Scopes"), ("refusals", "Refusals")]
    parts = [listing(f'<a href="#{anchor}">{name}</a>' for anchor, name in links)]
    for tag, operations in groups.items():
        parts.append(f'<p><a href="#{_anchor(tag)}">{escape(tag)}</a></p>')
        parts.append(
            listing(
                f'<a href="#{_anchor(operation["operationId"])}">{_badge(method)} {escape(operation["summary"])}</a>'
                for method, _, operation in operations
            )
        )
    return "".join(parts)


def _anchor(name: str) -> str:
    return escape(name.replace(" ", "-").lower())


def _badge(method: str) -> str:
    return f'<span class="method {method.lower()}">{method}</span>'


def _authentication(document: Mapping[str, Any]) -> str:
    schemes: dict[str, dict[str, str]] = document["components"]["securitySchemes"]
    return listing(inline(scheme["description"]) for scheme in schemes.values())


def _section(
    document: Mapping[str, Any],
    tag: str,
    operations: list[tuple[str, str, dict[str, Any]]],
    common: Mapping[str, Any],
) -> str:
    about = next(known["description"] for known in document["tags"] if known["name"] == tag)
    articles = "".join(_article(document, method, path, operation, common) for method, path, operation in operations)
    return f'<section id="{_anchor(tag)}"><h2>{escape(tag)}</h2>{paragraphs(about)}{articles}</section>\n'


def _article(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any], common: Mapping[str, Any]
) -> str:
    anchor = _anchor(operation["operationId"])
    parts = [
        f'<article id="{anchor}"><h3><a href="#{anchor}">{escape(operation["summary"])}</a></h3>',
        f'<p class="path">{_badge(method)} <code>{escape(path)}</code></p>',
        paragraphs(operation["description"]),
        f"<p>{_needs(operation)}</p>",
    ]
    if "parameters" in operation:
        parts.append(f"<h4>Parameters</h4>{parameter_table(document, operation['parameters'])}")
    if "requestBody" in operation:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        needed = "" if operation["requestBody"]["required"] else ", may be left out"
        parts.append(f"<h4>Body <small>application/json{needed}</small></h4>{request_table(document, schema)}")
    parts.append(f"<h4>Example</h4>{code(_curl(method, path, operation))}")
    own = {status: response for status, response in operation["responses"].items() if status not in common}
    others = ", ".join(common)
    parts.append(f"<h4>Answers</h4>{_answers(document, own)}")
    parts.append(f'<p>Besides, as <a href="#refusals">any request</a>: {others}.</p></article>\n')
    return "".join(parts)


def _needs(operation: Mapping[str, Any]) -> str:
    needed = [name for requirement in operation["security"][:1] for name in requirement]
    texts = {"login": "Needs a login token.", "apiKey": "Needs an API key."}
    return " ".join(texts[name] for name in needed) or "Needs no authentication."


def _curl(method: str, path: str, operation: Mapping[str, Any]) -> str:
    """Write a command that makes an example of this request."""
    command = "curl" if method == "GET" else f"curl -X {method}"
    lines = [f'{command} "$API{_PARAMETER.sub(lambda name: "$" + name[1].upper(), path)}"']
    for requirement in operation["security"][:1]:
        lines += [f'-H "Authorization: Bearer ${_AUTHORIZATION[name]}"' for name in requirement]
    if "requestBody" in operation:
        body = pretty(operation["requestBody"]["content"]["application/json"]["example"]).replace("'", "'\\''")
        lines += ['-H "Content-Type: application/json"', f"-d '{body}'"]
    return " \\\n  ".join(lines)


def _answers(document: Mapping[str, Any], responses: Mapping[str, Any]) -> str:
    return "".join(_response(document, status, resolved(document, response)) for status, response in responses.items())


def _response(document: Mapping[str, Any], status: str, response: Mapping[str, Any]) -> str:
    content: dict[str, Any] = next(iter(response.get("content", {}).values()), {})
    kind = "good" if status < "4" else "bad"
    summary = f'<span class="status {kind}">{status}</span> {inline(response["description"])}'
    headers = ", ".join(f"<code>{escape(name)}</code>" for name in response["headers"])
    parts = [f"<p>Headers: {headers}</p>"]
    if "example" in content:
        parts += [answer_table(document, content["schema"]), code(pretty(content["example"]))]
    for name, example in content.get("examples", {}).items():
        parts.append(
            f"<p><code>{escape(name)}</code>: {inline(example['summary'])}</p>{code(pretty(example['value']))}"
        )
    return f"<details><summary>{summary}</summary>{''.join(parts)}</details>"
