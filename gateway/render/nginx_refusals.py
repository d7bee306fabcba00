"""nginx's refusals: the gateway's, turned back into what they are, and those of its own in the same form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core import decision as d
from gateway.core.denials import refuse
from gateway.render.front import error_body
from gateway.render.text import block, comments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.core.denials import Refusal

STATUSES: Final = (400, 403, 404, 405, 413, 414, 417, 429, 431, 500, 501, 503, 505)
"""Statuses of refusals that nginx is told of; 401 comes as itself."""
OWN: Final = (
    ("400", "bad_request", d.BadRequest("The request is not valid HTTP/1.1")),
    ("404", "not_found", d.NotFound()),
    ("413", "too_large", None),
    ("414", "target_too_long", d.TargetTooLong(8192)),
    ("494", "head_too_large", d.HeadTooLarge()),
    ("408", "timed_out", d.BodyTimedOut()),
    ("500", "undecided", d.KeysUnavailable()),
    ("502 503", "upstream_failed", d.UpstreamFailed("$gateway_upstream")),
    ("504", "upstream_timed_out", d.UpstreamTimedOut("$gateway_upstream")),
)
"""What nginx refuses itself, without a decision or after it, and as which of our refusals; 500 is a failed decision."""
_PLACE: Final = "/_gateway/refused/"
"""Where they are in nginx; not named locations, to which nothing leads from a request line that was not understood."""
_REFUSING: Final = ("auth_request off;", 'default_type "application/json; charset=utf-8";')


def error_pages() -> Iterator[str]:
    """Say where nginx goes with each status that it would answer itself."""
    yield "error_page 401 403 = @gateway_refused;"
    yield from (f"error_page {statuses} = {_PLACE}{name};" for statuses, name, _ in OWN)


def refusals(largest: int) -> Iterator[str]:
    """Give the places where refusals are answered; *largest* is the limit of bodies that nginx itself has."""
    yield from ("", *comments("Refusals of the gateway, with their true status and body."))
    told = [f"if ($gateway_status = {status}) {{ return {status} $gateway_error; }}" for status in (401, *STATUSES)]
    yield from block("location @gateway_refused", [*_REFUSING, *told, *_returning(refuse(d.KeysUnavailable()))])
    yield from ("", *comments("Refusals of nginx itself, in the same form."))
    for _, name, denial in OWN:
        refusing = _returning(refuse(denial or d.BodyTooLarge(largest)))
        yield from block(f"location = {_PLACE}{name}", ["internal;", *_REFUSING, *refusing])


def _returning(refusal: Refusal) -> Iterator[str]:
    """Give what makes an answer of *refusal*; the status is also what says that nothing may be kept of it."""
    yield f"set $gateway_status {refusal.status};"
    yield from (f"set $gateway_retry_after {value};" for name, value in refusal.headers if name == "Retry-After")
    yield f"return {refusal.status} {quoted(error_body(refusal, '$gateway_id', '$gateway_time'))};"


def quoted(text: str) -> str:
    """Give a text in which only variables have a meaning."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
