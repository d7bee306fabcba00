"""Refusals of the control plane: what an answer function raises when it cannot do what it was asked.

`guarded` turns them, and the faults of what it depends on, into answers: nothing else maps exceptions to statuses.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.adapters.identity.jwks import IdentityProviderDown
from gateway.core.answers import error_answer
from gateway.core.denials import RETRY_SOON_S, Refusal, iso_time
from gateway.management.passwords import PasswordsBusy
from gateway.ports import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from gateway.core.answers import Answer, AnswerFunction, Asked
    from gateway.core.attempts import Exceeded

log = structlog.get_logger()

_CHALLENGE: Final = 'Bearer realm="api"'
_RETRY_AFTER: Final = (("Retry-After", str(RETRY_SOON_S)),)


class Refused(Exception):
    """What was asked is refused; *refusal* says how."""

    def __init__(self, refusal: Refusal) -> None:
        """Carry the *refusal* to where it is answered."""
        super().__init__(refusal.code)
        self.refusal = refusal


def bad_request(message: str) -> Refused:
    """Refuse a body that cannot be read."""
    return Refused(Refusal(400, "bad_request", message))


def wrong_type() -> Refused:
    """Refuse a body that does not say it is JSON."""
    message = "The request body must be JSON: send Content-Type: application/json"
    return Refused(Refusal(415, "unsupported_media_type", message))


def invalid(problems: Sequence[tuple[str, str]]) -> Refused:
    """Refuse values by field and rule, all at once; *problems* are pairs of field (may be "") and message."""
    errors = [{"field": field, "message": message} for field, message in problems]
    first = ": ".join(part for part in problems[0] if part)
    more = f" (and {len(problems) - 1} more, see details)" if len(problems) > 1 else ""
    return Refused(Refusal(422, "validation_error", f"{first}{more}", {"errors": errors}))


def not_logged_in(*, presented: bool) -> Refused:
    """Refuse a request without a usable login token (RFC 6750 section 3)."""
    if not presented:
        expected = {"expected": "Authorization: Bearer <token from POST /auth/login>"}
        header = (("WWW-Authenticate", _CHALLENGE),)
        return Refused(Refusal(401, "unauthorized", "Missing Authorization header", expected, header))
    message = "The login token is not valid or has expired. Log in again"
    header = (("WWW-Authenticate", f'{_CHALLENGE}, error="invalid_token", error_description="{message}"'),)
    return Refused(Refusal(401, "unauthorized", message, None, header))


def wrong_credentials() -> Refused:
    """Refuse a login, without saying which of the two was wrong."""
    message = "E-mail or password is wrong"
    return Refused(Refusal(401, "invalid_credentials", message, None, (("WWW-Authenticate", _CHALLENGE),)))


def too_many_logins(exceeded: Exceeded, window_ms: int, now: float) -> Refused:
    """Refuse a login, with the fields of every rate limit, because too many have failed (contract section 4)."""
    wait_s = max(-(-exceeded.retry_in_ms // 1000), 1)
    free_at = now + exceeded.retry_in_ms / 1000
    details = {"limit": exceeded.limit, "remaining": 0, "resetAt": iso_time(free_at)}
    headers = (
        ("X-RateLimit-Limit", str(exceeded.limit)),
        ("X-RateLimit-Remaining", "0"),
        ("X-RateLimit-Reset", str(ceil(free_at))),
        ("X-RateLimit-Window", str(-(-window_ms // 1000))),
        ("Retry-After", str(wait_s)),
    )
    message = f"Too many failed logins. Try again in {wait_s} seconds"
    return Refused(Refusal(429, "rate_limit_exceeded", message, details, headers))


def account_unknown(message: str) -> Refused:
    """Refuse a token of the identity provider, which is genuine, but for no account of ours."""
    return Refused(Refusal(403, "account_unknown", message))


def no_such_key() -> Refused:
    """Refuse an id that does not exist, or that is another account's, which must look the same."""
    return Refused(Refusal(404, "not_found", "No such API key"))


def no_such_delivery() -> Refused:
    """Refuse the id of a delivery that does not exist, or that is another key's."""
    return Refused(Refusal(404, "not_found", "No such delivery"))


def conflict(message: str, details: Mapping[str, Any] | None = None) -> Refused:
    """Refuse a change that the present state does not allow."""
    return Refused(Refusal(409, "conflict", message, details))


def too_many_tests() -> Refused:
    """Refuse to send one more test event, because receivers are slow."""
    message = "Too many test events are being sent at the moment. Try again shortly"
    return Refused(Refusal(503, "overloaded", message, None, _RETRY_AFTER))


UNAVAILABLE: Final = Refusal(
    503, "service_unavailable", "The key store cannot be reached at the moment. Try again shortly", None, _RETRY_AFTER
)
PROVIDER_AWAY: Final = Refusal(
    503,
    "service_unavailable",
    "The identity provider cannot be reached at the moment. Try again shortly",
    None,
    _RETRY_AFTER,
)
OVERLOADED: Final = Refusal(
    503, "overloaded", "Too many logins are being checked at the moment. Try again shortly", None, _RETRY_AFTER
)


def guarded(function: AnswerFunction) -> AnswerFunction:
    """Give *function* with its refusals and faults answered; bugs go on to the caller, who answers 500."""

    async def answer(asked: Asked) -> Answer:
        try:
            return await function(asked)
        except Refused as refused:
            refusal = refused.refusal
        except PasswordsBusy:
            log.warning("logins overloaded", request_id=asked.request_id)
            refusal = OVERLOADED
        except IdentityProviderDown:
            refusal = PROVIDER_AWAY
        except (Fault, TimeoutError) as fault:
            log.warning("management unavailable", kind=type(fault).__name__, request_id=asked.request_id)
            refusal = UNAVAILABLE
        return error_answer(refusal, asked.request_id, asked.now)

    return answer
