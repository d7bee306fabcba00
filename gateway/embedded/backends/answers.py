"""What the backends say: objects under `data`, refusals as `{"error", "message"}`."""

from __future__ import annotations

from aiohttp import web
from pydantic_core import to_json

_JSON = {"Content-Type": "application/json; charset=utf-8"}

_CODES = {
    400: "bad_request",
    404: "not_found",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "payload_too_large",
    415: "unsupported_media_type",
    417: "expectation_failed",
    422: "validation_error",
    503: "service_unavailable",
}


def answer(data: object, status: int = 200, **beside: object) -> web.Response:
    """A success: *data* under `data`, and whatever stands *beside* it."""
    return web.Response(status=status, body=to_json({"data": data, **beside}), headers=_JSON)


def error_body(status: int, message: str, **details: object) -> bytes:
    """The JSON text of a refusal, with the same codes as the gateway's own (contract section 5)."""
    return to_json({"error": _CODES.get(status, "bad_request"), "message": message, **details})


def error_answer(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    """A refusal as a response, for what is refused outside of a resource."""
    return web.Response(status=status, body=error_body(status, message), headers=_JSON | (headers or {}))


def refusal(kind: type[web.HTTPError], message: str, **details: object) -> web.HTTPError:
    """A refusal as an exception to raise from a resource."""
    error = kind(headers=_JSON)
    error.body = error_body(error.status, message, **details)
    return error


def invalid(problems: list[dict[str, str]]) -> web.HTTPError:
    """422 for *problems*, each a `field` and a `message`; the sentence tells the first of them."""
    first = problems[0]
    sentence = f"{first['field']}: {first['message']}" if first["field"] else first["message"]
    return refusal(web.HTTPUnprocessableEntity, sentence, errors=problems)


def missing(noun: str, identifier: int | None = None) -> web.HTTPError:
    """404 for a *noun* that is not there."""
    return refusal(web.HTTPNotFound, f"{noun} not found" if identifier is None else f"{noun} {identifier} not found")


def conflict(message: str) -> web.HTTPError:
    """409: the request is well formed, what is stored stands against it."""
    return refusal(web.HTTPConflict, message)
