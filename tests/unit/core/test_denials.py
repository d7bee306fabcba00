"""Denials: status, code, message, details and headers of each, from the table of contract section 5."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import decision as d
from gateway.core.bucket import Limit, Standing, Taken
from gateway.core.denials import iso_time, refuse

NOW_MS = 1_798_761_600_123
TAKEN = Taken(
    admitted=False,
    now_ms=NOW_MS,
    standings=(
        Standing(Limit("hourly", 1000, 3_600_000), 5, 3_582_000),
        Standing(Limit("route", 10, 60_000), 0, 60_000, 5_001),
    ),
)

TABLE: list[tuple[d.Denial, int, str, str, dict[str, Any] | None]] = [
    (d.BadRequest("Two readings"), 400, "bad_request", "Two readings", None),
    (
        d.CredentialMissing(),
        401,
        "unauthorized",
        "Missing Authorization header",
        {"expected": "Authorization: Bearer bk_live_..."},
    ),
    (d.KeyInvalid(None), 401, "invalid_api_key", "Invalid API key format or key not found", None),
    (
        d.KeyInvalid("bk_live_1234"),
        401,
        "invalid_api_key",
        "Invalid API key format or key not found",
        {"keyPrefix": "bk_live_1234"},
    ),
    (
        d.KeyExpired(1_798_761_600.0),
        401,
        "api_key_expired",
        "API key expired at 2027-01-01T00:00:00.000Z",
        {"expiredAt": "2027-01-01T00:00:00.000Z"},
    ),
    (d.KeyRevoked("bk_live_1"), 401, "api_key_revoked", "API key has been revoked", {"keyPrefix": "bk_live_1"}),
    (d.KeySuspended("bk_live_1"), 403, "api_key_suspended", "API key is suspended", {"keyPrefix": "bk_live_1"}),
    (
        d.AddressNotAllowed("192.0.2.1"),
        403,
        "ip_not_allowed",
        "API key is not allowed from address 192.0.2.1",
        {"clientIp": "192.0.2.1"},
    ),
    (
        d.ScopeMissing("WRITE_BUDGETS", ("READ_BUDGETS",)),
        403,
        "insufficient_scope",
        "API key does not have required scope: WRITE_BUDGETS",
        {"requiredScope": "WRITE_BUDGETS", "grantedScopes": ["READ_BUDGETS"]},
    ),
    (
        d.Throttled(TAKEN),
        429,
        "rate_limit_exceeded",
        "Rate limit exceeded. Try again in 6 seconds",
        {"limit": 10, "remaining": 0, "resetAt": "2027-01-01T00:01:00.123Z"},
    ),
    (
        d.UpstreamFailed("budgets"),
        502,
        "upstream_error",
        "The budgets service could not be reached or gave no valid answer",
        {"upstream": "budgets"},
    ),
    (
        d.UpstreamUnavailable("budgets"),
        503,
        "service_unavailable",
        "The budgets service does not answer at the moment. Try again shortly",
        {"upstream": "budgets"},
    ),
    (
        d.UpstreamOverloaded("budgets"),
        503,
        "overloaded",
        "The budgets service has more requests than it can take. Try again shortly",
        {"upstream": "budgets"},
    ),
    (
        d.UpstreamTimedOut("budgets"),
        504,
        "upstream_timeout",
        "The budgets service did not answer in time",
        {"upstream": "budgets"},
    ),
]

CODES: list[tuple[d.Denial, int, str]] = [
    (d.NotFound(), 404, "not_found"),
    (d.MethodNotAllowed(("GET",)), 405, "method_not_allowed"),
    (d.HeadTimedOut(), 408, "request_timeout"),
    (d.BodyTimedOut(), 408, "request_timeout"),
    (d.Overloaded(), 503, "overloaded"),
    (d.BodyTooLarge(1024), 413, "payload_too_large"),
    (d.TargetTooLong(8192), 414, "uri_too_long"),
    (d.ExpectationUnknown(), 417, "expectation_failed"),
    (d.TooManyFailures(TAKEN), 429, "rate_limit_exceeded"),
    (d.HeadTooLarge(), 431, "header_fields_too_large"),
    (d.InternalError(), 500, "internal_error"),
    (d.UpgradeRefused(), 501, "not_implemented"),
    (d.HandshakeRefused("no handshake"), 400, "bad_request"),
    (d.KeysUnavailable(), 503, "service_unavailable"),
    (d.LimiterUnavailable(), 503, "service_unavailable"),
    (d.IdentityUnavailable(), 503, "service_unavailable"),
    (d.UsageUnrecordable(), 503, "service_unavailable"),
    (d.VersionRefused(), 505, "version_not_supported"),
]

EVERY: list[d.Denial] = [row[0] for row in TABLE] + [row[0] for row in CODES]


@pytest.mark.parametrize(("denial", "status", "code", "message", "details"), TABLE)
def test_a_denial_is_told_as_in_the_contract(
    denial: d.Denial, status: int, code: str, message: str, details: dict[str, Any] | None
) -> None:
    refusal = refuse(denial)
    assert (refusal.status, refusal.code, refusal.message, refusal.details) == (status, code, message, details)


@pytest.mark.parametrize(("denial", "status", "code"), CODES)
def test_a_denial_has_the_status_and_code_of_the_contract(denial: d.Denial, status: int, code: str) -> None:
    refusal = refuse(denial)
    assert (refusal.status, refusal.code) == (status, code)
    assert refusal.message


def test_every_denial_that_there_is_stands_in_these_tables() -> None:
    assert {type(denial) for denial in EVERY} == set(get_args(d.Denial))


@pytest.mark.parametrize("denial", [denial for denial in EVERY if refuse(denial).status == 401])
def test_every_401_has_a_challenge(denial: d.Denial) -> None:
    challenge = dict(refuse(denial).headers)["WWW-Authenticate"]
    assert challenge.startswith('Bearer realm="api"')
    # RFC 6750 section 3.1: no error code where no token was presented.
    assert ('error="invalid_token"' in challenge) == (not isinstance(denial, d.CredentialMissing))
    assert challenge.isascii()


def test_where_both_fields_are_taken_a_missing_credential_names_both() -> None:
    refusal = refuse(d.CredentialMissing(in_api_key=True))
    assert refusal.message == "Missing Authorization or X-API-Key header"
    assert refusal.details == {"expected": "Authorization: Bearer bk_live_... or X-API-Key: bk_live_..."}
    assert dict(refusal.headers)["WWW-Authenticate"] == 'Bearer realm="api", ApiKey realm="api", header="X-API-Key"'


def test_a_missing_scope_is_named_in_the_challenge() -> None:
    challenge = dict(refuse(d.ScopeMissing("WRITE_BUDGETS", ())).headers)["WWW-Authenticate"]
    assert challenge == 'Bearer realm="api", error="insufficient_scope", scope="WRITE_BUDGETS"'


@pytest.mark.parametrize("denial", [d.Throttled(TAKEN), d.TooManyFailures(TAKEN)])
def test_a_429_describes_the_bucket_that_takes_longest(denial: d.Denial) -> None:
    assert dict(refuse(denial).headers) == {
        "X-RateLimit-Limit": "10",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "1798761661",
        "X-RateLimit-Window": "60",
        "Retry-After": "6",
    }


@given(st.integers(0, 3_600_000))
def test_the_wait_is_whole_seconds_at_least_one_and_long_enough(retry_in_ms: int) -> None:
    taken = Taken(
        admitted=False, now_ms=NOW_MS, standings=(Standing(Limit("l", 1, 3_600_000), 0, 3_600_000, retry_in_ms),)
    )
    refusal = refuse(d.Throttled(taken))
    found = re.fullmatch(r"Rate limit exceeded\. Try again in (\d+) seconds", refusal.message)
    assert found is not None
    wait_s = int(found[1])
    assert dict(refusal.headers)["Retry-After"] == found[1]
    assert wait_s >= 1
    assert wait_s * 1000 >= retry_in_ms
    assert wait_s == 1 or (wait_s - 1) * 1000 < retry_in_ms


@pytest.mark.parametrize("denial", [denial for denial in EVERY if refuse(denial).status == 503])
def test_every_503_says_when_to_come_back(denial: d.Denial) -> None:
    assert dict(refuse(denial).headers)["Retry-After"] == "1"


def test_a_405_names_the_methods_that_are_allowed() -> None:
    assert refuse(d.MethodNotAllowed(("GET", "HEAD"))).headers == (("Allow", "GET, HEAD"),)


@pytest.mark.parametrize(
    "denial",
    [d.BadRequest("?"), d.BodyTooLarge(1), d.HeadTimedOut(), d.BodyTimedOut(), d.TargetTooLong(1), d.HeadTooLarge()],
)
def test_where_the_next_request_cannot_be_found_the_connection_is_closed(denial: d.Denial) -> None:
    assert refuse(denial).close


@pytest.mark.parametrize("denial", [d.NotFound(), d.CredentialMissing(), d.Throttled(TAKEN), d.KeysUnavailable()])
def test_other_refusals_leave_the_connection_open(denial: d.Denial) -> None:
    assert not refuse(denial).close


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))  # noqa: DTZ001  # hypothesis wants naive bounds
def test_times_are_utc_with_milliseconds(moment: datetime) -> None:
    moment = moment.replace(tzinfo=UTC, microsecond=moment.microsecond // 1000 * 1000)
    text = iso_time(moment.timestamp())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    assert datetime.fromisoformat(text) == moment


def test_a_time_just_before_a_second_is_rounded_into_it() -> None:
    assert iso_time((datetime(2027, 1, 1, tzinfo=UTC) - timedelta(microseconds=1)).timestamp()) == (
        "2027-01-01T00:00:00.000Z"
    )
