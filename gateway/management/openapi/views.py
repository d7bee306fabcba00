"""The shapes of answers, as the API's document describes them; tests hold the real answers against them.

Answers may get further members in later versions, so nothing here is closed to them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from gateway.core.deliveries import WebhookStatus  # noqa: TC001  # pydantic reads the annotations
from gateway.core.keys import KeyStatus  # noqa: TC001  # pydantic reads the annotations
from gateway.core.webhooks import Failure  # noqa: TC001  # as above
from gateway.management.bodies import without_defaults

MOMENT: Final = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"

Moment = Annotated[str, Field(pattern=MOMENT, json_schema_extra={"format": "date-time"})]
Absent: Final[Any] = Field(default=None)
"""The default of a member that may be missing; it is never null."""


class View(BaseModel):
    """A JSON object in camelCase, described by the texts below its members."""

    model_config = ConfigDict(alias_generator=to_camel, json_schema_extra=without_defaults)


class LoginUser(View):
    """Who has logged in."""

    id: str
    """The id of the user."""
    email: str
    """The e-mail of the user."""


class LoginAnswer(View):
    """A token for the management of keys."""

    token: str
    """The token, to be sent as `Authorization: Bearer <token>`."""
    access_token: str
    """The same token."""
    token_type: Annotated[str, Field(pattern="^Bearer$")]
    """Always Bearer."""
    expires_in: Annotated[int, Field(ge=1)]
    """Seconds until it expires."""
    user: LoginUser
    """Who has logged in."""


class JsonWebKey(View):
    """A public key (RFC 7517)."""

    model_config = ConfigDict(extra="allow")

    kty: str
    """The type of the key: OKP."""
    kid: str
    """The key's name, as tokens have it in their header."""
    alg: str = Absent
    """The algorithm: EdDSA."""
    use: str = Absent
    """What it is for: sig."""
    crv: str = Absent
    """The curve: Ed25519."""
    x: str = Absent
    """The public key, base64url."""


class JsonWebKeySet(View):
    """The public keys that login tokens can be verified with (RFC 7517)."""

    keys: list[JsonWebKey]
    """All keys whose tokens may still be valid."""


class _KeyView(View):
    """An API key."""

    id: str
    """The id, e.g. for its path; not secret."""
    name: str
    """What people call it."""
    description: str | None
    """What it is for."""
    key_prefix: str
    """Its first 12 characters, by which it is recognised."""
    scopes: list[str]
    """What it may do."""
    rate_limit_per_hour: int
    """Requests that it may make in an hour."""
    status: KeyStatus
    """Whether it works. Expiry is told by `expiresAt`, not here."""
    allowed_ips: list[str] | None
    """Addresses and networks that it may be used from; null or empty is any."""
    expires_at: Moment | None
    """When it ends; null is never."""
    webhook_url: str | None
    """Where its events are sent."""
    created_at: Moment
    """When it was made."""
    account_id: str = Absent
    """Whose it is; only admins see this."""


class KeyView(_KeyView):
    """An API key, without anything secret."""

    webhook_events: list[str] | None
    """The events that are sent; null is all."""
    webhook_status: WebhookStatus | None
    """Whether they are sent: PAUSED by the owner, or because nothing arrived for days; DISABLED because the receiver
    answered 410. Until it is ACTIVE again they wait. Null without a URL."""
    updated_at: Moment
    """When it was changed last."""
    last_used_at: Moment | None
    """When it was used last; null is never."""


class ChangedKeyView(KeyView):
    """An API key after a change."""

    webhook_secret: str = Absent
    """Shown this once, when the change has set or generated it: the secret that webhooks are signed with."""


class NewKeyView(_KeyView):
    """An API key with its secrets, which are shown this once and cannot be shown again."""

    key: str
    """The key itself, to be sent as `Authorization: Bearer <key>`."""
    webhook_secret: str = Absent
    """The secret that webhooks are signed with, when it was given or generated now."""


class Pagination(View):
    """Where in a list a page is."""

    page: Annotated[int, Field(ge=1)]
    """The number of the page, from 1."""
    limit: Annotated[int, Field(ge=1)]
    """How many items a page has at most."""
    total: Annotated[int, Field(ge=0)]
    """How many there are on all pages."""
    has_more: bool
    """Whether there is a page after this one."""


class KeyPage(View):
    """A page of keys, newest first."""

    data: list[KeyView]
    """The keys."""
    pagination: Pagination
    """Where in the list this page is."""


class Actor(View):
    """Who did something."""

    kind: str
    """`user`, `command` or `database`; `operator` where nothing closer is told."""
    id: str | None
    """The id of the user."""
    role: str | None
    """The role of the user."""


class AuditChange(View):
    """What happened to one member."""

    field: str
    """The member's name."""
    old: Any = Absent
    """Its value before."""
    new: Any = Absent
    """Its value since."""
    secret: bool = Absent
    """True for a secret, whose values are not kept."""


class AuditEntryView(View):
    """One change of a key."""

    id: str
    """The id of the entry."""
    at: Moment
    """When it happened."""
    action: str
    """What was done, e.g. `key.created`."""
    key_id: str | None
    """The key that it was done to."""
    account_id: str | None
    """Whose key it is."""
    actor: Actor
    """Who did it."""
    address: str | None
    """The address that it was done from."""
    request_id: str | None
    """The request that did it."""
    changes: list[AuditChange]
    """What is different since."""


class AuditPageView(View):
    """A page of what was done to a key, newest first."""

    data: list[AuditEntryView]
    """The changes."""
    pagination: Pagination
    """Where in the list this page is."""


class WebhookTestResult(View):
    """What came of a test event."""

    success: bool
    """True: the key works."""
    message: str
    """What was done."""
    timestamp: Moment
    """When."""
    api_key: str
    """The first 12 characters of the key."""
    delivery_id: str | None
    """The id of the delivery, which the receiver sees as `webhook-id`; null when nothing was sent."""
    delivered: bool = Absent
    """Whether the receiver took the event with a 2xx. Missing when nothing was sent, or when it took longer than four
    seconds; the delivery goes on then."""
    status_code: int | None = Absent
    """The status of the receiver's answer; null without one."""
    duration_ms: Annotated[int, Field(ge=0)] = Absent
    """Milliseconds until the answer, or until it failed."""
    failure: Failure | None = Absent
    """Why the event did not arrive; null when it did."""


class WebhookTestAnswer(View):
    """The answer to a test event."""

    data: WebhookTestResult
    """What came of it."""
