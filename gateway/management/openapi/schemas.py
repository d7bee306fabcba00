"""Schemas of the API's document: from the models that validate requests, and from those that describe answers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pydantic.json_schema import models_json_schema

from gateway.management.key_bodies import SCOPE_SCHEMA
from gateway.management.openapi.operations import OPERATIONS
from gateway.management.openapi.refusal_views import Error
from gateway.management.openapi.refusals import FOR_ALL, WITH_BODY, WITH_KEY, WITH_LOGIN, KnownRefusal
from gateway.settings.sentences import DescribedSchema

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import BaseModel

SCHEMAS: Final = "#/components/schemas/"


class _Untitled(DescribedSchema):
    """Leaves out the titles of members, which only say their names again."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002  # pydantic's signature
        return False


def reference(model: type[BaseModel]) -> dict[str, str]:
    """Refer to the schema of *model*."""
    return {"$ref": SCHEMAS + model.__name__}


def component_schemas(scopes: Mapping[str, str]) -> dict[str, Any]:
    """Give every schema by its name; *scopes* are the configured ones, each with a sentence about it."""
    schemas = {name: schema for name, schema in _model_schemas().items() if name not in _queries()}
    schemas[SCOPE_SCHEMA] = _scope(scopes)
    schemas |= {refusal.name: _refusal_schema(refusal) for refusal in known_refusals()}
    return dict(sorted(schemas.items()))


def known_refusals() -> Iterable[KnownRefusal]:
    """Give every refusal that an operation of any route can have, once each."""
    found = [*FOR_ALL, *WITH_BODY, *WITH_KEY, *WITH_LOGIN]
    found += [refusal for operation in OPERATIONS.values() for refusal in operation.refusals]
    return {refusal.name: refusal for refusal in found}.values()


def query_parameters(model: type[BaseModel]) -> list[dict[str, Any]]:
    """Describe the members of *model* as parameters of a query. None are needed, and what is null there is not sent."""
    members: dict[str, Any] = _model_schemas()[model.__name__]["properties"]
    return [_query_parameter(name, dict(schema)) for name, schema in members.items()]


def _query_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    description = schema.pop("description", "")
    if schema.get("default", "") is None:
        del schema["default"]
    for kind in schema.pop("anyOf", ()):
        if kind != {"type": "null"}:
            schema |= kind
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _queries() -> set[str]:
    return {operation.query.__name__ for operation in OPERATIONS.values() if operation.query is not None}


@cache
def _model_schemas() -> dict[str, Any]:
    models: list[type[BaseModel] | None] = [Error, *(refusal.details for refusal in known_refusals())]
    for operation in OPERATIONS.values():
        models += [operation.body, operation.query, operation.answer]
    distinct = dict.fromkeys(model for model in models if model is not None)
    _, schema = models_json_schema(
        [(model, "validation") for model in distinct],
        ref_template=SCHEMAS + "{model}",
        schema_generator=_Untitled,
    )
    found: dict[str, Any] = schema["$defs"]
    for definition in found.values():
        definition.pop("title", None)
    return found


def _scope(scopes: Mapping[str, str]) -> dict[str, Any]:
    lines = [f"- `{name}`: {sentence}" for name, sentence in scopes.items()]
    schema: dict[str, Any] = {"type": "string", "description": "\n".join(["What a key may do.", "", *lines])}
    if scopes:
        schema["enum"] = list(scopes)
    return schema


def _refusal_schema(refusal: KnownRefusal) -> dict[str, Any]:
    """Describe the envelope as it is for this refusal."""
    members: dict[str, Any] = {"error": {"const": refusal.sample.code}}
    narrowed: dict[str, Any] = {"type": "object", "properties": members}
    if refusal.details is not None:
        members["details"] = reference(refusal.details)
        if refusal.always:
            narrowed["required"] = ["details"]
    return {"description": refusal.when, "allOf": [reference(Error), narrowed]}
