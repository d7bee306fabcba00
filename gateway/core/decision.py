"""Decisions: admit, or one class for each way to refuse.

A refusal is a value, so that every place that turns one into an answer has to handle all of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.core.bucket import Charges, Taken


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a request is made for, as the upstream is told."""

    key_id: str
    account_id: str
    scopes: tuple[str, ...]
    prefix: str


@dataclass(frozen=True, slots=True)
class Admit:
    """Let the request through, once *charges* (if any) are taken; *principal* is None on public routes.

    *identity* are the lines of the head that tell the upstream who asks, made once for many requests.
    """

    principal: Principal | None
    charges: Charges | None
    identity: bytes = b""


@dataclass(frozen=True, slots=True)
class BadRequest:
    """The request has two readings, or none."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """No route has this path."""


@dataclass(frozen=True, slots=True)
class MethodNotAllowed:
    """Routes have this path, but not this method."""

    allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CredentialMissing:
    """No credential was presented, or one of another scheme; *in_api_key* is whether X-API-Key is looked at too."""

    in_api_key: bool = False


@dataclass(frozen=True, slots=True)
class KeyInvalid:
    """The credential is malformed, or no key has it; *prefix* only when it has our format."""

    prefix: str | None


@dataclass(frozen=True, slots=True)
class KeyExpired:
    """The key's time is over (Unix seconds)."""

    expired_at: float


@dataclass(frozen=True, slots=True)
class KeyRevoked:
    """The key, or this secret of it, has been revoked, rotated out or deleted."""

    prefix: str


@dataclass(frozen=True, slots=True)
class KeySuspended:
    """The key is suspended."""

    prefix: str


@dataclass(frozen=True, slots=True)
class AddressNotAllowed:
    """The key may not be used from this address."""

    address: str


@dataclass(frozen=True, slots=True)
class ScopeMissing:
    """The key lacks the scope that the route wants."""

    required: str
    granted: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Throttled:
    """A bucket is empty."""

    taken: Taken


@dataclass(frozen=True, slots=True)
class TooManyFailures:
    """An address failed to authenticate too often."""

    taken: Taken


@dataclass(frozen=True, slots=True)
class BodyTooLarge:
    """The request's body exceeds the route's limit (bytes)."""

    limit: int


@dataclass(frozen=True, slots=True)
class HeadTimedOut:
    """The request's head did not become complete in time."""


@dataclass(frozen=True, slots=True)
class BodyTimedOut:
    """The request's body stalled."""


@dataclass(frozen=True, slots=True)
class TargetTooLong:
    """The request target exceeds its limit (bytes)."""

    limit: int


@dataclass(frozen=True, slots=True)
class HeadTooLarge:
    """A header field, or all of them together, exceed a limit."""


@dataclass(frozen=True, slots=True)
class ExpectationUnknown:
    """An Expect other than 100-continue."""


@dataclass(frozen=True, slots=True)
class UpgradeRefused:
    """An upgrade that is not carried."""


@dataclass(frozen=True, slots=True)
class HandshakeRefused:
    """A WebSocket handshake that is none."""

    reason: str


@dataclass(frozen=True, slots=True)
class VersionRefused:
    """A protocol version other than HTTP/1.0 and HTTP/1.1."""


@dataclass(frozen=True, slots=True)
class Overloaded:
    """The worker serves as many requests as it may."""


@dataclass(frozen=True, slots=True)
class KeysUnavailable:
    """The key is not known here and the store does not answer."""


@dataclass(frozen=True, slots=True)
class LimiterUnavailable:
    """The limiter does not answer, and the configuration says to refuse then."""


@dataclass(frozen=True, slots=True)
class IdentityUnavailable:
    """The upstream wants a signed identity, and there is no key to sign it with."""


@dataclass(frozen=True, slots=True)
class UsageUnrecordable:
    """There is no room to record the request, and the configuration says to refuse then."""


@dataclass(frozen=True, slots=True)
class UpstreamFailed:
    """The upstream could not be reached, or what it sent was not HTTP."""

    upstream: str


@dataclass(frozen=True, slots=True)
class UpstreamTimedOut:
    """The upstream did not answer in time."""

    upstream: str


@dataclass(frozen=True, slots=True)
class UpstreamUnavailable:
    """The upstream is known not to answer, so it was not asked."""

    upstream: str


@dataclass(frozen=True, slots=True)
class UpstreamOverloaded:
    """The upstream has as many requests as it may have."""

    upstream: str


@dataclass(frozen=True, slots=True)
class InternalError:
    """A bug of ours; the log has it under the request's id."""


Denial = (
    BadRequest
    | NotFound
    | MethodNotAllowed
    | CredentialMissing
    | KeyInvalid
    | KeyExpired
    | KeyRevoked
    | KeySuspended
    | AddressNotAllowed
    | ScopeMissing
    | Throttled
    | TooManyFailures
    | BodyTooLarge
    | HeadTimedOut
    | BodyTimedOut
    | TargetTooLong
    | HeadTooLarge
    | ExpectationUnknown
    | UpgradeRefused
    | HandshakeRefused
    | VersionRefused
    | Overloaded
    | KeysUnavailable
    | LimiterUnavailable
    | IdentityUnavailable
    | UsageUnrecordable
    | UpstreamFailed
    | UpstreamTimedOut
    | UpstreamUnavailable
    | UpstreamOverloaded
    | InternalError
)

Decision = Admit | Denial
