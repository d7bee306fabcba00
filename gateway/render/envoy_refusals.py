"""Envoy's refusals: those of its own in the gateway's form; the gateway's pass as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core import decision as d
from gateway.core.answers import JSON_TYPE
from gateway.core.denials import refuse
from gateway.render.front import error_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.denials import Refusal

UPSTREAM: Final = "%METADATA(ROUTE:gateway:upstream)%"
LIMIT: Final = "%METADATA(ROUTE:gateway:body_max_bytes)%"
UNDECIDED: Final = 507
"""What Envoy calls a decision that could not be had: no decision has this status."""
_REFUSED: Final = "UAEX"
_TIME: Final = "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%"
_DECIDED: Final = "%REQ(x-request-id)%"
_OWN: Final = "%RESP(x-request-id)%"


def local_replies() -> dict[str, Any]:
    """Give what Envoy makes of answers of its own: the first that fits."""
    decided: list[tuple[tuple[str, ...], d.Denial]] = [
        (("UT", "SI"), d.UpstreamTimedOut(UPSTREAM)),
        (("UO", "URX"), d.UpstreamOverloaded(UPSTREAM)),
        (("UH",), d.UpstreamUnavailable(UPSTREAM)),
        (("UF", "UC", "UR", "LR", "UPE"), d.UpstreamFailed(UPSTREAM)),
    ]
    undecided: list[tuple[int, d.Denial]] = [
        (400, d.BadRequest("The request is not valid HTTP/1.1")),
        (408, d.BodyTimedOut()),
        (426, d.VersionRefused()),
        (431, d.HeadTooLarge()),
    ]
    return {
        "mappers": [
            _mapper(_all(_status(UNDECIDED), _flags(_REFUSED)), refuse(d.KeysUnavailable()), own_id=True),
            {"# The gateway's refusals are passed on as they are.": None, "filter": _flags(_REFUSED)},
            *(_mapper(_all(_status(500, "GE"), _flags(*flags)), refuse(denial)) for flags, denial in decided),
            _mapper(_status(413), _too_large()),
            *(_mapper(_status(status), refuse(denial), own_id=True) for status, denial in undecided),
            _mapper(_status(500, "GE"), refuse(d.InternalError()), own_id=True),
            _mapper(_status(404), refuse(d.NotFound()), own_id=True),
        ]
    }


def _too_large() -> Refusal:
    """Give the refusal of a body, with the limit as it is written at the route."""
    refusal = refuse(d.BodyTooLarge(0))
    return type(refusal)(
        refusal.status,
        refusal.code,
        refusal.message.replace("0", LIMIT),
        {"limitBytes": LIMIT},
        refusal.headers,
    )


def _mapper(condition: Mapping[str, Any], refusal: Refusal, *, own_id: bool = False) -> dict[str, Any]:
    """Give a rule; with *own_id* the request has none from a decision, and gets one here."""
    fields = [("cache-control", "no-store"), *((name.lower(), value) for name, value in refusal.headers)]
    if own_id:
        fields.append(("x-request-id", "req_%UNIQUE_ID%"))
    body = error_body(refusal, _OWN if own_id else _DECIDED, _TIME).replace(f'"{LIMIT}"', LIMIT)
    return {
        "filter": condition,
        "status_code": refusal.status,
        "headers_to_add": [
            {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
            for name, value in fields
        ],
        "body_format_override": {"text_format_source": {"inline_string": body}, "content_type": JSON_TYPE[1]},
    }


def _status(status: int, comparison: str = "EQ") -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": "gateway.unused"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def _flags(*flags: str) -> dict[str, Any]:
    return {"response_flag_filter": {"flags": list(flags)}}


def _all(*conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {"and_filter": {"filters": list(conditions)}}
