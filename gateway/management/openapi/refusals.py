"""The refusals of the API's document. Each is a sample that the real code makes, so status, code, headers and text are.

What is described here is what an operation can be refused with before or instead of its answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.core import decision as d
from gateway.core.bucket import Limit, Standing, Taken
from gateway.core.denials import Refusal, refuse
from gateway.management import refusals
from gateway.management.openapi import refusal_views as views

if TYPE_CHECKING:
    from gateway.management.openapi.views import View

SAMPLE_TIME: Final = 1_800_000_000.0
"""The time of all samples, in Unix seconds."""

_PREFIX: Final = "bk_live_1234"


@dataclass(frozen=True, slots=True)
class KnownRefusal:
    """A refusal that can occur: its name in the document, a *sample* of it, and *when* it comes.

    *details* is what the envelope's `details` are then, which are there *always* or sometimes; *sometimes* are headers
    that the sample does not have.
    """

    name: str
    sample: Refusal
    when: str
    details: type[View] | None = None
    always: bool = True
    sometimes: tuple[str, ...] = ()


def _throttled(capacity: int, window_ms: int) -> Taken:
    limit = Limit("sample", capacity, window_ms)
    return Taken(
        admitted=False,
        now_ms=round(SAMPLE_TIME * 1000),
        standings=(Standing(limit, 0, window_ms, window_ms // capacity),),
    )


BAD_REQUEST: Final = KnownRefusal(
    "BadRequest",
    refusals.bad_request("The request body is not valid JSON (line 1, column 12)").refusal,
    "The request has two readings, or none: its path, its framing, or a body that is not JSON.",
)
BODY_TIMED_OUT: Final = KnownRefusal("RequestTimeout", refuse(d.BodyTimedOut()), "The body stalled on its way.")
BODY_TOO_LARGE: Final = KnownRefusal(
    "PayloadTooLarge", refuse(d.BodyTooLarge(65_536)), "The body is too large.", views.SizeDetails
)
TARGET_TOO_LONG: Final = KnownRefusal("UriTooLong", refuse(d.TargetTooLong(8192)), "Path and query are too long.")
WRONG_TYPE: Final = KnownRefusal(
    "UnsupportedMediaType", refusals.wrong_type().refusal, "The body does not say that it is JSON in UTF-8."
)
EXPECTATION: Final = KnownRefusal(
    "ExpectationFailed", refuse(d.ExpectationUnknown()), "`Expect` asks for something else than `100-continue`."
)
HEAD_TOO_LARGE: Final = KnownRefusal(
    "HeaderFieldsTooLarge", refuse(d.HeadTooLarge()), "The header fields are too many or too large."
)
INVALID: Final = KnownRefusal(
    "ValidationError",
    refusals.invalid([("name", "is required"), ("allowedIps.0", "is not an address or network")]).refusal,
    "Values break rules; all of them are named.",
    views.Problems,
)
NOT_LOGGED_IN: Final = KnownRefusal(
    "NotLoggedIn",
    refusals.not_logged_in(presented=False).refusal,
    "There is no login token, or it is not valid any more.",
    views.Expected,
    always=False,
)
ACCOUNT_UNKNOWN: Final = KnownRefusal(
    "AccountUnknown",
    refusals.account_unknown(
        "The token names an account that does not exist here. Ask the operator to create it"
    ).refusal,
    "The token is of an identity provider that the gateway believes, and names no account.",
)
WRONG_CREDENTIALS: Final = KnownRefusal(
    "InvalidCredentials",
    refusals.wrong_credentials().refusal,
    "E-mail or password is wrong; which one is never told.",
)
THROTTLED: Final = KnownRefusal(
    "RateLimitExceeded",
    refuse(d.Throttled(_throttled(60, 60_000))),
    "Too many requests; `Retry-After` says how many seconds to wait.",
    views.LimitDetails,
)
NO_SUCH_KEY: Final = KnownRefusal(
    "NotFound", refusals.no_such_key().refusal, "There is no such key, or it is another account's, or deleted."
)
CONFLICT: Final = KnownRefusal(
    "Conflict",
    refusals.conflict("The API key is REVOKED, which is final").refusal,
    "The state of the key does not allow it, or an `Idempotency-Key` was used before and its answer is not kept any "
    "more (`details` say which key it made) or not there yet.",
    views.ConflictDetails,
    always=False,
    sometimes=("Retry-After",),
)
UNAVAILABLE: Final = KnownRefusal(
    "ServiceUnavailable",
    refusals.UNAVAILABLE,
    "A store that is needed cannot be reached. Nothing was done; try again.",
)
OVERLOADED: Final = KnownRefusal(
    "Overloaded", refusals.OVERLOADED, "Too many logins are being checked. Nothing was done; try again."
)
TESTS_OVERLOADED: Final = KnownRefusal(
    "TestsOverloaded",
    refusals.too_many_tests().refusal,
    "Too many test events wait for slow receivers. Nothing was sent; try again.",
)

FOR_ALL: Final = (BAD_REQUEST, BODY_TIMED_OUT, BODY_TOO_LARGE, TARGET_TOO_LONG, EXPECTATION, HEAD_TOO_LARGE)
"""What every request can get."""

WITH_BODY: Final = (WRONG_TYPE, INVALID)
"""What requests with a body can get besides."""

WITH_LOGIN: Final = (NOT_LOGGED_IN, ACCOUNT_UNKNOWN, UNAVAILABLE)
"""What requests with a login token can get besides."""

_KEY_MISSING: Final = KnownRefusal(
    "KeyMissing",
    refuse(d.CredentialMissing()),
    "There is no `Authorization` header, or it has another scheme.",
    views.Expected,
)
_KEY_MISSING_IN_BOTH: Final = replace(
    _KEY_MISSING,
    sample=refuse(d.CredentialMissing(in_api_key=True)),
    when="There is no `X-API-Key` header, and no `Authorization` header or one with another scheme.",
)

WITH_KEY: Final = (
    _KEY_MISSING,
    KnownRefusal(
        "KeyInvalid", refuse(d.KeyInvalid(_PREFIX)), "Nobody has this key.", views.PrefixDetails, always=False
    ),
    KnownRefusal("KeyExpired", refuse(d.KeyExpired(SAMPLE_TIME)), "The key's time is over.", views.ExpiredDetails),
    KnownRefusal("KeyRevoked", refuse(d.KeyRevoked(_PREFIX)), "The key has been revoked.", views.PrefixDetails),
    KnownRefusal("KeySuspended", refuse(d.KeySuspended(_PREFIX)), "The key is suspended.", views.PrefixDetails),
    KnownRefusal(
        "AddressNotAllowed",
        refuse(d.AddressNotAllowed("203.0.113.9")),
        "The key may not be used from this address.",
        views.AddressDetails,
    ),
    KnownRefusal(
        "ScopeMissing",
        refuse(d.ScopeMissing("WEBHOOKS", ("READ_BUDGETS",))),
        "The key lacks the scope.",
        views.ScopeDetails,
    ),
    THROTTLED,
    UNAVAILABLE,
)
"""What requests with an API key can get besides."""


def as_configured(refusal: KnownRefusal, *, in_api_key: bool) -> KnownRefusal:
    """Give *refusal* as it is where keys may also come as X-API-Key."""
    return _KEY_MISSING_IN_BOTH if in_api_key and refusal is _KEY_MISSING else refusal
