"""Denials as answers: the single table of refusals (contract section 5).

Messages are for the caller: they say what to do next and show nothing that is not the caller's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, assert_never

from gateway.core import decision as d
from gateway.core.headers import rate_limit_headers
from gateway.core.websocket import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.bucket import Taken

RETRY_SOON_S: Final = 1
_CHALLENGE: Final = 'Bearer realm="api"'


@dataclass(frozen=True, slots=True)
class Refusal:
    """A denial as it goes over the wire, but for the envelope's timestamp and request id.

    *close* asks for the connection to be closed: what follows on it cannot be trusted to be the next request.
    """

    status: int
    code: str
    message: str
    details: Mapping[str, Any] | None = None
    headers: tuple[tuple[str, str], ...] = field(default=())
    close: bool = False


def iso_time(unix_s: float) -> str:
    """Write a Unix time as `YYYY-MM-DDTHH:MM:SS.mmmZ`."""
    moment = datetime.fromtimestamp(round(unix_s * 1000) // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{round(unix_s * 1000) % 1000:03d}Z"


def _unauthorized(code: str, message: str, details: Mapping[str, Any] | None, error: str | None) -> Refusal:
    """Make a 401 with its challenge; *error* is RFC 6750's code, absent when no token was presented (section 3)."""
    challenge = _CHALLENGE if error is None else f'{_CHALLENGE}, error="{error}", error_description="{message}"'
    return Refusal(401, code, message, details, (("WWW-Authenticate", challenge),))


def _missing(*, in_api_key: bool) -> Refusal:
    """Make the 401 for no credential. No scheme is registered for X-API-Key; clients pass over one they do not know."""
    if not in_api_key:
        expected = {"expected": "Authorization: Bearer bk_live_..."}
        return _unauthorized("unauthorized", "Missing Authorization header", expected, None)
    expected = {"expected": "Authorization: Bearer bk_live_... or X-API-Key: bk_live_..."}
    challenge = f'{_CHALLENGE}, ApiKey realm="api", header="X-API-Key"'
    message = "Missing Authorization or X-API-Key header"
    return Refusal(401, "unauthorized", message, expected, (("WWW-Authenticate", challenge),))


def _throttled(taken: Taken, what: str) -> Refusal:
    tightest = taken.tightest
    wait_s = max(-(-tightest.retry_in_ms // 1000), 1)
    details = {
        "limit": tightest.limit.capacity,
        "remaining": 0,
        "resetAt": iso_time((taken.now_ms + tightest.full_in_ms) / 1000),
    }
    headers = (*rate_limit_headers(taken), ("Retry-After", str(wait_s)))
    return Refusal(429, "rate_limit_exceeded", f"{what}. Try again in {wait_s} seconds", details, headers)


def _unavailable(code: str, message: str, details: Mapping[str, Any] | None = None) -> Refusal:
    return Refusal(503, code, message, details, (("Retry-After", str(RETRY_SOON_S)),))


def refuse(denial: d.Denial) -> Refusal:
    """Turn a denial into its answer."""
    match denial:
        case d.CredentialMissing() | d.KeyInvalid() | d.KeyExpired() | d.KeyRevoked():
            return _refuse_credential(denial)
        case d.KeySuspended() | d.AddressNotAllowed() | d.ScopeMissing():
            return _refuse_permission(denial)
        case d.Throttled(taken):
            return _throttled(taken, "Rate limit exceeded")
        case d.TooManyFailures(taken):
            return _throttled(taken, "Too many failed authentications from this address")
        case (
            d.Overloaded()
            | d.KeysUnavailable()
            | d.LimiterUnavailable()
            | d.IdentityUnavailable()
            | d.UsageUnrecordable()
        ):
            return _refuse_unequipped(denial)
        case d.UpstreamFailed() | d.UpstreamTimedOut() | d.UpstreamUnavailable() | d.UpstreamOverloaded():
            return _refuse_for_fault(denial)
        case d.UpgradeRefused() | d.HandshakeRefused():
            return _refuse_upgrade(denial)
        case _:
            return _refuse_request(denial)


def _refuse_credential(denial: d.CredentialMissing | d.KeyInvalid | d.KeyExpired | d.KeyRevoked) -> Refusal:
    match denial:
        case d.CredentialMissing(in_api_key):
            return _missing(in_api_key=in_api_key)
        case d.KeyInvalid(prefix):
            details = None if prefix is None else {"keyPrefix": prefix}
            message = "Invalid API key format or key not found"
            return _unauthorized("invalid_api_key", message, details, "invalid_token")
        case d.KeyExpired(expired_at):
            moment = iso_time(expired_at)
            message = f"API key expired at {moment}"
            return _unauthorized("api_key_expired", message, {"expiredAt": moment}, "invalid_token")
        case d.KeyRevoked(prefix):
            message = "API key has been revoked"
            return _unauthorized("api_key_revoked", message, {"keyPrefix": prefix}, "invalid_token")
        case _:
            assert_never(denial)


def _refuse_permission(denial: d.KeySuspended | d.AddressNotAllowed | d.ScopeMissing) -> Refusal:
    match denial:
        case d.KeySuspended(prefix):
            return Refusal(403, "api_key_suspended", "API key is suspended", {"keyPrefix": prefix})
        case d.AddressNotAllowed(address):
            message = f"API key is not allowed from address {address}"
            return Refusal(403, "ip_not_allowed", message, {"clientIp": address})
        case d.ScopeMissing(required, granted):
            message = f"API key does not have required scope: {required}"
            details = {"requiredScope": required, "grantedScopes": list(granted)}
            challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{required}"'
            return Refusal(403, "insufficient_scope", message, details, (("WWW-Authenticate", challenge),))
        case _:
            assert_never(denial)


_Unequipped = d.Overloaded | d.KeysUnavailable | d.LimiterUnavailable | d.IdentityUnavailable | d.UsageUnrecordable


def _refuse_unequipped(denial: _Unequipped) -> Refusal:
    match denial:
        case d.Overloaded():
            return _unavailable("overloaded", "Too many requests are being served at the moment. Try again shortly")
        case d.KeysUnavailable():
            return _unavailable("service_unavailable", "API keys cannot be checked at the moment. Try again shortly")
        case d.LimiterUnavailable():
            return _unavailable("service_unavailable", "Rate limits cannot be checked at the moment. Try again shortly")
        case d.IdentityUnavailable():
            return _unavailable("service_unavailable", "Requests cannot be signed for at the moment. Try again shortly")
        case d.UsageUnrecordable():
            return _unavailable("service_unavailable", "Requests cannot be recorded at the moment. Try again shortly")
        case _:
            assert_never(denial)


def _refuse_for_fault(
    denial: d.UpstreamFailed | d.UpstreamTimedOut | d.UpstreamUnavailable | d.UpstreamOverloaded,
) -> Refusal:
    match denial:
        case d.UpstreamFailed(upstream):
            message = f"The {upstream} service could not be reached or gave no valid answer"
            return Refusal(502, "upstream_error", message, {"upstream": upstream})
        case d.UpstreamTimedOut(upstream):
            return Refusal(
                504, "upstream_timeout", f"The {upstream} service did not answer in time", {"upstream": upstream}
            )
        case d.UpstreamUnavailable(upstream):
            message = f"The {upstream} service does not answer at the moment. Try again shortly"
            return _unavailable("service_unavailable", message, {"upstream": upstream})
        case d.UpstreamOverloaded(upstream):
            message = f"The {upstream} service has more requests than it can take. Try again shortly"
            return _unavailable("overloaded", message, {"upstream": upstream})
        case _:
            assert_never(denial)


def _refuse_upgrade(denial: d.UpgradeRefused | d.HandshakeRefused) -> Refusal:
    """Close, since what follows may not be HTTP, and name the version that would do (RFC 6455 section 4.4)."""
    match denial:
        case d.UpgradeRefused():
            return Refusal(501, "not_implemented", "Upgrades such as WebSocket are not carried here", close=True)
        case d.HandshakeRefused(reason):
            return Refusal(400, "bad_request", reason, None, (("Sec-WebSocket-Version", VERSION),), close=True)
        case _:
            assert_never(denial)


_RequestDenial = (
    d.BadRequest
    | d.NotFound
    | d.MethodNotAllowed
    | d.BodyTooLarge
    | d.HeadTimedOut
    | d.BodyTimedOut
    | d.TargetTooLong
    | d.HeadTooLarge
    | d.ExpectationUnknown
    | d.VersionRefused
    | d.InternalError
)


def _refuse_request(denial: _RequestDenial) -> Refusal:
    match denial:
        case d.BadRequest(reason):
            return Refusal(400, "bad_request", reason, close=True)
        case d.NotFound():
            return Refusal(404, "not_found", "No such path; see the API reference for the paths that exist")
        case d.MethodNotAllowed(allowed):
            methods = ", ".join(allowed)
            return Refusal(405, "method_not_allowed", f"This path answers only {methods}", None, (("Allow", methods),))
        case d.BodyTooLarge(limit):
            return Refusal(
                413,
                "payload_too_large",
                f"The request body is larger than {limit} bytes",
                {"limitBytes": limit},
                close=True,
            )
        case d.HeadTimedOut() | d.BodyTimedOut():
            part = "head" if isinstance(denial, d.HeadTimedOut) else "body"
            return Refusal(408, "request_timeout", f"The request {part} did not arrive in time", close=True)
        case d.TargetTooLong(limit):
            return Refusal(414, "uri_too_long", f"The request target is longer than {limit} bytes", close=True)
        case d.HeadTooLarge():
            return Refusal(431, "header_fields_too_large", "The header fields are too many or too large", close=True)
        case d.ExpectationUnknown():
            return Refusal(417, "expectation_failed", "The only expectation that can be met is 100-continue")
        case d.VersionRefused():
            return Refusal(505, "version_not_supported", "Use HTTP/1.1", close=True)
        case d.InternalError():
            return Refusal(500, "internal_error", "Something went wrong on our side; quote the request id to support")
        case _:
            assert_never(denial)
