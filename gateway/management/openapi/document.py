"""The API's document: what the gateway answers itself, as OpenAPI 3.1, made of one snapshot.

Routes say where operations are and who may call them, `OPERATIONS` what they are, the models what they take and give.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from gateway.management.openapi.examples import EXAMPLES
from gateway.management.openapi.operations import OPERATIONS
from gateway.management.openapi.responses import component_responses, responses
from gateway.management.openapi.schemas import component_schemas, query_parameters, reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gateway.core.routes import Route
    from gateway.core.snapshot import Snapshot
    from gateway.management.openapi.operations import Operation

OPENAPI: Final = "3.1.1"
API_VERSION: Final = "1"
"""The version of the API, not of the software, which is nobody's business."""

LOGIN: Final = "login"
KEY: Final = "apiKey"
KEY_FIELD: Final = "apiKeyField"

_TAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Login": "An e-mail and a password for a token, which the management of keys asks for.",
        "API keys": "Keys are managed by the people who own them. What belongs to another account is 404.",
        "Usage": "What keys are used for. Requests are counted exactly once, refused ones included.",
        "Webhooks": "What can be done with an API key besides using the services behind it.",
        "Documents": "This description.",
    }
)
_ABOUT: Final = """\
What the gateway answers itself: login, the management of API keys, and what belongs to them. The services behind it \
are described elsewhere.

{prefixes}

A refusal is JSON with `error` (a code for programs), `message` (for people), `details` where there are some, \
`timestamp` and `requestId`. The codes stand at each operation. Besides, any request may get 500 `internal_error`, \
501 `not_implemented` (a WebSocket) and 505 `version_not_supported`. A path that does not exist is 404 `not_found`, \
another method on one that does is 405 `method_not_allowed` with `Allow`. Where there is GET there is HEAD.

Times are UTC, `YYYY-MM-DDTHH:MM:SS.mmmZ`. Every answer has an `X-Request-Id`."""
_PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "Idempotency-Key": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]([ -~]*[!-~])?$"},
        "If-None-Match": {"type": "string"},
    }
)
_TOKEN: Final = "^[A-Za-z0-9_-]{1,100}$"  # noqa: S105  # a pattern, not a password


def openapi_document(snapshot: Snapshot) -> dict[str, Any]:
    """Make the document of *snapshot*. It depends on the configuration alone, and is the same for everyone."""
    paths: dict[str, dict[str, Any]] = {}
    for route, method in _own_routes(snapshot):
        assert route.answer is not None
        paths.setdefault(_path(route), {})[method.lower()] = _operation(OPERATIONS[route.answer], route, snapshot)
    used = {operation["tags"][0] for methods in paths.values() for operation in methods.values()}
    return {
        "openapi": OPENAPI,
        "info": {"title": "Gateway", "version": API_VERSION, "description": _about(snapshot)},
        "servers": [{"url": "/"}, *({"url": prefix} for prefix in snapshot.strip_prefixes)],
        "tags": [{"name": name, "description": description} for name, description in _TAGS.items() if name in used],
        "paths": paths,
        "components": {
            "schemas": component_schemas(snapshot.scopes),
            "responses": component_responses(in_api_key=snapshot.key_format.in_api_key),
            "securitySchemes": _security_schemes(snapshot),
        },
    }


def _own_routes(snapshot: Snapshot) -> Iterator[tuple[Route, str]]:
    for route in snapshot.routes.routes:
        if route.answer is not None:
            for method in sorted(route.methods - {"HEAD"}):
                yield route, method


def _path(route: Route) -> str:
    return route.pattern.text.removesuffix("/**").replace(":token}", "}") or "/"


def _about(snapshot: Snapshot) -> str:
    prefixes = " and ".join(f"`{prefix}`" for prefix in snapshot.strip_prefixes)
    sentence = f"Every path answers the same with and without a leading {prefixes}." if prefixes else ""
    return _ABOUT.format(prefixes=sentence)


def _security_schemes(snapshot: Snapshot) -> dict[str, Any]:
    prefix = snapshot.key_format.prefixes[0]
    in_field = {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": f"The same API key, instead of in Authorization: `X-API-Key: {prefix}...`.",
    }
    return {
        LOGIN: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": f"A token {_issuer(snapshot)}: `Authorization: Bearer <token>`.",
        },
        KEY: {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": f"{prefix}...",
            "description": f"An API key: `Authorization: Bearer {prefix}...`.",
        },
        **({KEY_FIELD: in_field} if snapshot.key_format.in_api_key else {}),
    }


def _security(operation: Operation, route: Route, snapshot: Snapshot) -> list[dict[str, list[str]]]:
    """Give the ways to say who asks, of which one is needed."""
    if operation.login:
        return [{LOGIN: []}]
    if route.public:
        return []
    return [{KEY: []}, {KEY_FIELD: []}] if snapshot.key_format.in_api_key else [{KEY: []}]


def _issuer(snapshot: Snapshot) -> str:
    """Say where login tokens come from; that there is an identity provider is said only where nothing else is."""
    has_login = any(route.answer == "login" for route in snapshot.routes.routes)
    return "from the login" if has_login else "of the identity provider"


def _operation(operation: Operation, route: Route, snapshot: Snapshot) -> dict[str, Any]:
    keyed = not route.public
    described: dict[str, Any] = {
        "operationId": route.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": " ".join([operation.description, *_needs(route)]),
        "security": _security(operation, route, snapshot),
    }
    parameters = [*_path_parameters(operation, route), *_header_parameters(operation)]
    if operation.query is not None:
        parameters += query_parameters(operation.query)
    if parameters:
        described["parameters"] = parameters
    if operation.body is not None:
        example = _with_scopes(EXAMPLES[operation.body.__name__], snapshot)
        content = {"application/json": {"schema": reference(operation.body), "example": example}}
        described["requestBody"] = {"required": operation.body_needed, "content": content}
    described["responses"] = responses(
        operation, keyed=keyed, limited=bool(route.limits), in_api_key=snapshot.key_format.in_api_key
    )
    return described


def _needs(route: Route) -> Iterator[str]:
    """Say what a configured route wants."""
    if route.scope is not None:
        yield f"Needs the scope `{route.scope}`."
    for limit in route.limits:
        seconds = limit.window_ms // 1000
        yield f"At most {limit.capacity} requests in {seconds} second{'s' if seconds > 1 else ''} by {limit.by}."


def _path_parameters(operation: Operation, route: Route) -> Iterator[dict[str, Any]]:
    for segment in route.pattern.text.split("/"):
        if segment.startswith("{"):
            name, _, kind = segment.strip("{}").partition(":")
            schema = {"type": "string", "pattern": _TOKEN} if kind else {"type": "string", "minLength": 1}
            description = operation.path.get(name, "")
            yield {"name": name, "in": "path", "required": True, "description": description, "schema": schema}


def _header_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name, description in operation.headers.items():
        yield {"name": name, "in": "header", "description": description, "schema": dict(_PARAMETERS[name])}


def _with_scopes(example: Any, snapshot: Snapshot) -> Any:
    """Give *example* with scopes that this configuration knows."""
    if not snapshot.scopes or "scopes" not in example or set(example["scopes"]) <= set(snapshot.scopes):
        return example
    return {**example, "scopes": list(snapshot.scopes)[:2]}
