"""The shapes of refusals: the envelope that all have, and the `details` of each code."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from gateway.management.openapi.views import Absent, Moment, View


class Error(View):
    """What every refusal looks like. `error` is for programs and never changes, `message` is for people."""

    error: str
    """A stable code."""
    message: str
    """What is wrong, and what to do next."""
    details: dict[str, Any] = Absent
    """What belongs to this code; its members are listed at the code."""
    timestamp: Moment
    """When the request came, in UTC."""
    request_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")]
    """The id of this request, as in `X-Request-Id`; quote it to support."""


class Problem(View):
    """One thing that is wrong with a request."""

    field: str
    """The member or parameter, with dots where it is nested; empty for the request as a whole."""
    message: str
    """The rule that it breaks."""


class Problems(View):
    """Everything that is wrong with a request, at once."""

    errors: Annotated[list[Problem], Field(min_length=1)]
    """At least one problem."""


class Expected(View):
    """How a credential is sent."""

    expected: str
    """A header to send."""


class PrefixDetails(View):
    """Which key was meant."""

    key_prefix: str
    """The first 12 characters of the key."""


class ExpiredDetails(View):
    """Since when the key has been expired."""

    expired_at: Moment
    """The end of the key's time."""


class AddressDetails(View):
    """Where the request came from."""

    client_ip: str
    """The address that was compared with the key's `allowedIps`."""


class ScopeDetails(View):
    """What is wanted, and what the key has."""

    required_scope: str
    """The scope that the request needs."""
    granted_scopes: list[str]
    """The scopes of the key."""


class LimitDetails(View):
    """The limit that was hit."""

    limit: Annotated[int, Field(ge=1)]
    """Requests that the limit admits."""
    remaining: Annotated[int, Field(ge=0)]
    """What is left of it: nothing."""
    reset_at: Moment
    """When all of it is there again."""


class SizeDetails(View):
    """How much is allowed."""

    limit_bytes: Annotated[int, Field(ge=0)]
    """Bytes that the body may have."""


class ConflictDetails(View):
    """What was made before, where an `Idempotency-Key` was used again too late."""

    id: str
    """The id of the key that the first request made or rotated."""
