"""Bodies that describe a key: every field that may be set, with its rule (contract section 3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, ValidationInfo, WithJsonSchema

from gateway.adapters.postgres.keys import RATE_LIMIT_PER_HOUR
from gateway.core.deliveries import WebhookStatus
from gateway.core.keys import KeyStatus
from gateway.core.network import NetworkSyntaxError, parse_network
from gateway.core.webhook_secrets import read_secret
from gateway.core.webhook_urls import check_webhook_url
from gateway.management.bodies import Body, without_defaults

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

RATE_LIMIT_MAX: Final = 1_000_000_000
NAME_MAX_CHARACTERS: Final = 100
ACCOUNT_ID_MAX_CHARACTERS: Final = 100
EVENT_MAX_CHARACTERS: Final = 100
GRACE_MAX_S: Final = 30 * 86_400
WEBHOOK_GRACE_S: Final = 86_400
LIMIT_DEFAULT: Final = 20
LIMIT_MAX: Final = 100
PAGE_MAX: Final = 1_000_000_000
SCOPE_SCHEMA: Final = "Scope"
"""The schema of a scope's name in the API's document, which is made of the configuration."""

Choice = TypeVar("Choice", bound=StrEnum)

_WHOLE: Final = re.compile(r"-?[0-9]{1,18}")
_TIME_MAX_CHARACTERS: Final = 40


@dataclass(frozen=True, slots=True)
class Rules:
    """What the rules depend on: the configured scopes, the time (Unix seconds), whether webhooks may stay inside.

    With *any_account* the key may be made for another account than one's own.
    """

    scopes: Collection[str]
    now: float
    allow_private: bool
    any_account: bool = False


def _rules(validation: ValidationInfo) -> Rules:
    assert isinstance(validation.context, Rules)
    return validation.context


def _scope(name: str, validation: ValidationInfo) -> str:
    if name not in _rules(validation).scopes:
        message = f"is not a scope; expected one of {', '.join(_rules(validation).scopes)}"
        raise ValueError(message)
    return name


def _distinct(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _network(text: str) -> str:
    try:
        parse_network(text)
    except NetworkSyntaxError as error:
        raise ValueError(str(error)) from None
    return text


def _moment(value: Any, validation: ValidationInfo) -> datetime | None:
    """Read an ISO 8601 time with its offset, to the millisecond, that lies in the future."""
    if value is None:
        return None
    expected = "must be an ISO 8601 time with an offset, e.g. 2030-12-31T23:59:59Z"
    if not isinstance(value, str) or len(value) > _TIME_MAX_CHARACTERS or "T" not in value:
        raise ValueError(expected)
    try:
        parsed = datetime.fromisoformat(value)
        moment = parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(expected) from None
    if parsed.tzinfo is None:
        raise ValueError(expected)
    if moment.timestamp() <= _rules(validation).now:
        message = "must be in the future"
        raise ValueError(message)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _url(text: str, validation: ValidationInfo) -> str:
    check_webhook_url(text, allow_private=_rules(validation).allow_private)
    return text


def _secret(value: Any) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        message = "must be a string"
        raise ValueError(message)  # noqa: TRY004  # pydantic reports a ValueError, and lets a TypeError through
    return read_secret(value)


def _account(account_id: str, validation: ValidationInfo) -> str:
    if not _rules(validation).any_account:
        message = "can be set by admins only"
        raise ValueError(message)
    return account_id


def one_of(kind: type[Choice], *allowed: Choice) -> Callable[[Any], Choice]:
    """Give what reads a member of *kind*, only of those *allowed* where some are given."""

    def read(value: Any) -> Choice:
        if value in (allowed or list(kind)):
            return kind(value)
        message = f"must be one of {', '.join(allowed or kind)}"
        raise ValueError(message)

    return read


def _whole(text: Any) -> int:
    if not isinstance(text, str) or _WHOLE.fullmatch(text) is None:
        message = "must be a whole number"
        raise ValueError(message)
    return int(text)


def _at_most(limit: int) -> int:
    return min(limit, LIMIT_MAX)


Name = Annotated[
    str,
    Field(min_length=1, max_length=NAME_MAX_CHARACTERS, description="What people call the key; need not be unique."),
]
Scope = Annotated[str, AfterValidator(_scope), WithJsonSchema({"$ref": f"#/components/schemas/{SCOPE_SCHEMA}"})]
Scopes = Annotated[
    list[Scope],
    Field(min_length=1, max_length=100, description="What the key may do. Writing does not imply reading."),
    AfterValidator(_distinct),
]
Description = Annotated[str | None, Field(description="What the key is for.")]
RateLimit = Annotated[int, Field(ge=1, le=RATE_LIMIT_MAX, description="Requests that the key may make in an hour.")]
Networks = Annotated[
    list[Annotated[str, AfterValidator(_network)]] | None,
    Field(description="Addresses and CIDR networks, IPv4 or IPv6, that may use the key; null or empty is any."),
]
Expiry = Annotated[
    datetime | None,
    BeforeValidator(_moment),
    Field(description="When the key ends: ISO 8601 with an offset, in the future; null is never."),
]
EventName = Annotated[str, Field(min_length=1, max_length=EVENT_MAX_CHARACTERS, pattern=r"^[a-z_]+(\.[a-z_]+)+$")]
WebhookUrl = Annotated[
    Annotated[str, AfterValidator(_url)] | None,
    Field(description="The https URL that events are sent to; it must not lead to a private address."),
]
WebhookSecret = Annotated[
    bytes | None,
    BeforeValidator(_secret, json_schema_input_type=str | None),
    Field(
        repr=False,
        description="What webhooks are signed with: `whsec_` and base64, or 16 to 128 characters. Generated, and shown "
        "once, when there is a webhookUrl and this is not given.",
    ),
]
WebhookEvents = Annotated[
    Annotated[list[EventName], Field(min_length=1, max_length=100), AfterValidator(_distinct)] | None,
    Field(description="Names of the events that the webhook gets; null is all."),
]
Status = Annotated[KeyStatus, BeforeValidator(one_of(KeyStatus))]
ChosenWebhookStatus = Annotated[
    WebhookStatus,
    BeforeValidator(one_of(WebhookStatus, WebhookStatus.ACTIVE, WebhookStatus.PAUSED)),
    WithJsonSchema({"type": "string", "enum": [WebhookStatus.ACTIVE, WebhookStatus.PAUSED]}),
    Field(description="PAUSED lets events wait; ACTIVE sends them, and what has waited."),
]
AccountId = Annotated[str, Field(min_length=1, max_length=ACCOUNT_ID_MAX_CHARACTERS)]
Page = Annotated[int, Field(ge=1, le=PAGE_MAX, description="The number of the page, from 1."), BeforeValidator(_whole)]
PageLimit = Annotated[
    int,
    Field(ge=1, description=f"Items on a page; above {LIMIT_MAX} is as {LIMIT_MAX}."),
    BeforeValidator(_whole),
    AfterValidator(_at_most),
]


class _Described(Body):
    """What describes a key."""

    def columns(self) -> dict[str, Any]:
        """Give what the body names, by column; the webhook's secret has to be encrypted first, so it is left out."""
        return {name: getattr(self, name) for name in self.model_fields_set - {"webhook_secret", "account_id"}}


class CreateBody(_Described):
    """What POST /api-keys takes; an admin may name the account whose key it becomes."""

    name: Name
    scopes: Scopes
    description: Description = None
    rate_limit_per_hour: RateLimit = RATE_LIMIT_PER_HOUR
    allowed_ips: Networks = None
    expires_at: Expiry = None
    webhook_url: WebhookUrl = None
    webhook_secret: WebhookSecret = None
    webhook_events: WebhookEvents = None
    account_id: Annotated[
        Annotated[AccountId, AfterValidator(_account)] | None,
        Field(description="The account whose key it becomes; for admins only."),
    ] = None


class UpdateBody(_Described):
    """What PUT /api-keys/{id} takes: only what is named is changed."""

    # The defaults are never used, so nobody is told of them.
    model_config = ConfigDict(json_schema_extra=without_defaults)

    name: Name = ""
    scopes: Scopes = Field(default_factory=list)
    description: Description = None
    rate_limit_per_hour: RateLimit = RATE_LIMIT_PER_HOUR
    status: Status = KeyStatus.ACTIVE
    allowed_ips: Networks = None
    expires_at: Expiry = None
    webhook_url: WebhookUrl = None
    webhook_secret: WebhookSecret = None
    webhook_events: WebhookEvents = None
    webhook_status: ChosenWebhookStatus = WebhookStatus.ACTIVE


class AuditQuery(Body):
    """What GET /api-keys/{id}/audit takes in its query; other parameters mean nothing, and do no harm."""

    model_config = ConfigDict(extra="ignore")

    page: Page = 1
    limit: PageLimit = LIMIT_DEFAULT


class PageQuery(AuditQuery):
    """What GET /api-keys takes in its query; only for an admin is there more than one account."""

    status: Annotated[Status | None, Field(description="Only keys with this status.")] = None
    search: Annotated[
        Annotated[str, Field(max_length=NAME_MAX_CHARACTERS)] | None,
        Field(description="Only keys whose name or keyPrefix contains this."),
    ] = None
    account_id: Annotated[AccountId | None, Field(description="Only keys of this account; for admins.")] = None


class RotateBody(Body):
    """What POST /api-keys/{id}/rotate takes."""

    grace_seconds: Annotated[
        int, Field(ge=0, le=GRACE_MAX_S, description="Seconds that the old secret goes on working.")
    ] = 0


class RotateWebhookSecretBody(Body):
    """What POST /api-keys/{id}/webhook-secret/rotate takes."""

    grace_seconds: Annotated[
        int, Field(ge=0, le=GRACE_MAX_S, description="Seconds that webhooks are signed with the old secret as well.")
    ] = WEBHOOK_GRACE_S
    webhook_secret: WebhookSecret = None
