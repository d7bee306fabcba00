"""Responses of the API's document: the answer of an operation, and every way in which it can be refused."""

from __future__ import annotations

import json
from itertools import groupby
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gateway.core.answers import error_answer
from gateway.management.openapi.examples import EXAMPLES
from gateway.management.openapi.refusals import SAMPLE_TIME, as_configured
from gateway.management.openapi.schemas import SCHEMAS, known_refusals, reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.management.openapi.operations import Operation
    from gateway.management.openapi.refusals import KnownRefusal

REQUEST_ID: Final = "X-Request-Id"
RATE_LIMIT: Final = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Window")

_SAMPLE_ID: Final = "req_5f2b8c1d9e3a4b6f"
_COUNT: Final[Mapping[str, Any]] = MappingProxyType({"type": "integer", "minimum": 0})
_HEADERS: Final[Mapping[str, tuple[str, Mapping[str, Any]]]] = MappingProxyType(
    {
        REQUEST_ID: (
            "The id of this request; quote it to support.",
            {"type": "string", "pattern": "^[A-Za-z0-9._-]+$"},
        ),
        "X-RateLimit-Limit": ("Requests that the tightest limit admits.", _COUNT),
        "X-RateLimit-Remaining": ("Requests that are left of it.", _COUNT),
        "X-RateLimit-Reset": ("When all of it is there again, in Unix seconds.", _COUNT),
        "X-RateLimit-Window": ("Seconds that the limit is for.", _COUNT),
        "Retry-After": ("Seconds to wait before trying again.", {"type": "integer", "minimum": 1}),
        "WWW-Authenticate": ("How to authenticate (RFC 6750).", {"type": "string"}),
        "ETag": ("Names this version of the document.", {"type": "string"}),
        "Idempotency-Replayed": ("Present where this is the answer of an earlier request.", {"const": "true"}),
    }
)


def component_responses(*, in_api_key: bool) -> dict[str, Any]:
    """Give the response of each refusal that is the only one with its status, by its name."""
    refusals = sorted(known_refusals(), key=lambda known: known.name)
    return {refusal.name: _refused([as_configured(refusal, in_api_key=in_api_key)]) for refusal in refusals}


def responses(operation: Operation, *, keyed: bool, limited: bool, in_api_key: bool) -> dict[str, Any]:
    """Give the responses of *operation* by status; see `Operation.all_refusals` and `as_configured`."""
    found = {str(operation.status): _answer(operation, limited=keyed or limited)}
    if "ETag" in operation.sends:
        found["304"] = {"description": "The document has not changed.", "headers": _headers([REQUEST_ID, "ETag"])}
    refusals = sorted(operation.all_refusals(keyed=keyed, limited=limited), key=_status)
    for status, group in groupby(refusals, key=_status):
        same = [as_configured(refusal, in_api_key=in_api_key) for refusal in group]
        found[str(status)] = {"$ref": f"#/components/responses/{same[0].name}"} if len(same) == 1 else _refused(same)
    return found


def _status(refusal: KnownRefusal) -> int:
    return refusal.sample.status


def _answer(operation: Operation, *, limited: bool) -> dict[str, Any]:
    headers = _headers([REQUEST_ID], [*operation.sends, *(RATE_LIMIT if limited else ())])
    if operation.status == 204:
        return {"description": "Done; there is nothing to say.", "headers": headers}
    content: dict[str, Any] = {"schema": {"type": "string" if operation.media_type == "text/html" else "object"}}
    description = "The document."
    if operation.answer is not None:
        content = {"schema": reference(operation.answer), "example": EXAMPLES[operation.answer.__name__]}
        description = (operation.answer.__doc__ or "").partition("\n")[0]
    found = {"description": description, "headers": headers, "content": {operation.media_type: content}}
    if operation.links:
        found["links"] = {
            name: {"operationId": name, "parameters": {"id": "$response.body#/id"}} for name in operation.links
        }
    return found


def _refused(refusals: list[KnownRefusal]) -> dict[str, Any]:
    """Describe refusals that share a status."""
    schemas = [{"$ref": SCHEMAS + refusal.name} for refusal in refusals]
    if len(refusals) == 1:
        schema: dict[str, Any] = dict(schemas[0])
    else:
        mapping = {refusal.sample.code: SCHEMAS + refusal.name for refusal in refusals}
        schema = {"oneOf": schemas, "discriminator": {"propertyName": "error", "mapping": mapping}}
    examples = {refusal.sample.code: {"summary": refusal.when, "value": _envelope(refusal)} for refusal in refusals}
    sent = [{name for name, _ in refusal.sample.headers} for refusal in refusals]
    always, ever = set.intersection(*sent), set.union(*sent, *(refusal.sometimes for refusal in refusals))
    return {
        "description": " Or: ".join(refusal.when for refusal in refusals),
        "headers": _headers([REQUEST_ID, *always], ever - always),
        "content": {"application/json": {"schema": schema, "examples": examples}},
    }


def _headers(always: Iterable[str], sometimes: Iterable[str] = ()) -> dict[str, Any]:
    needed, wanted = set(always), set(always) | set(sometimes)
    return {
        name: {"description": description, "required": name in needed, "schema": dict(schema)}
        for name, (description, schema) in _HEADERS.items()
        if name in wanted
    }


def _envelope(refusal: KnownRefusal) -> Any:
    return json.loads(error_answer(refusal.sample, _SAMPLE_ID, SAMPLE_TIME).body)
