"""Reads a JSON body into a pydantic model; whatever a client sends is either that or a 4xx with a sentence."""

from __future__ import annotations

import asyncio
import math
from typing import Annotated, Any, TypeVar

import pydantic
from aiohttp import web
from pydantic.alias_generators import to_camel
from pydantic_core import from_json

from gateway.embedded.backends.answers import invalid, refusal
from gateway.embedded.backends.parameters import LARGEST_IDENTIFIER

BODY_MAX_BYTES = 2**20
TIMEOUT_S = web.AppKey("body_timeout_s", float)

Identifier = Annotated[int, pydantic.Field(ge=1, le=LARGEST_IDENTIFIER)]
Name = Annotated[str, pydantic.Field(min_length=1)]
# Bounded so that no product or sum of them leaves what a double and JSON can hold.
Amount = Annotated[float, pydantic.Field(ge=0, le=1e12)]
Count = Annotated[int, pydantic.Field(ge=0, le=10**12)]


class Body(pydantic.BaseModel):
    """What a client may write: camelCase on the wire, types as they are said, unknown members ignored."""

    model_config = pydantic.ConfigDict(strict=True, extra="ignore", allow_inf_nan=False, alias_generator=to_camel)

    def document(self) -> dict[str, Any]:
        """All members under their wire names, defaults included: a new document."""
        return self.model_dump(mode="json", by_alias=True)

    def changes(self) -> dict[str, Any]:
        """Only the members that the client named: a partial update."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


Written = TypeVar("Written", bound=Body)


def partial(model: type[Written]) -> type[Written]:
    """The same members with the same rules, none of them required: what PUT accepts.

    The default is never seen, since only named members are taken over; null stays refused where *model* refuses it.
    """
    members: dict[str, Any] = {name: (field.rebuild_annotation(), None) for name, field in model.model_fields.items()}
    return pydantic.create_model(f"Partial{model.__name__}", __base__=model, **members)


async def read(request: web.Request, model: type[Written]) -> Written:
    """The request's body as *model*. No bytes at all count as `{}`: SDKs send empty POSTs declared as JSON."""
    raw = await _read_bytes(request) or b"{}"
    try:
        value = from_json(raw, allow_inf_nan=False)
    except ValueError as error:
        raise refusal(web.HTTPBadRequest, f"The body is not valid JSON: {error}") from None
    if not _storable(value):
        raise invalid([{"field": "", "message": "Text must not contain NUL, and numbers must be finite"}])
    try:
        # From the text again: only there does strict mode let dates be strings.
        return model.model_validate_json(raw)
    except pydantic.ValidationError as error:
        raise invalid([_problem(entry["loc"], entry["msg"]) for entry in error.errors(include_url=False)]) from None


async def _read_bytes(request: web.Request) -> bytes:
    encoding = request.headers.get("Content-Encoding", "identity")
    if encoding.lower() != "identity":
        raise refusal(web.HTTPUnsupportedMediaType, "Send the body without Content-Encoding")
    try:
        async with asyncio.timeout(request.app[TIMEOUT_S]):
            return await request.read()
    except TimeoutError:
        raise refusal(web.HTTPRequestTimeout, "The body did not arrive in time") from None


def _storable(value: object) -> bool:
    """Whether Postgres can hold *value* as jsonb: it refuses NUL, and a number such as 1e999 has become infinite."""
    match value:
        case str():
            return "\0" not in value
        case float():
            return math.isfinite(value)
        case list():
            return all(_storable(entry) for entry in value)
        case dict():
            return all(_storable(name) and _storable(entry) for name, entry in value.items())
    return True


def _problem(location: tuple[int | str, ...], message: str) -> dict[str, str]:
    return {"field": ".".join(str(step) for step in location), "message": message}
