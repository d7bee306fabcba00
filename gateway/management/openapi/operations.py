"""What the gateway answers itself, as the API's document describes it: one entry for each answer.

Where an operation is, its methods, and who may call it stand in the routes; everything else stands here, and the tests
fail while an answer has no entry.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gateway.management.deliveries import DeliveriesQuery
from gateway.management.key_bodies import (
    AuditQuery,
    CreateBody,
    PageQuery,
    RotateBody,
    RotateWebhookSecretBody,
    UpdateBody,
)
from gateway.management.login import LoginBody
from gateway.management.openapi import delivery_views, usage_views, views
from gateway.management.openapi import refusals as known
from gateway.management.statistics import StatisticsQuery, UsageQuery
from gateway.management.webhook_test import WebhookTestBody

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.management.bodies import Body
    from gateway.management.openapi.refusals import KnownRefusal
    from gateway.management.openapi.views import View

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_KEY_ID: Final = {"id": "The id of the key, e.g. `api_key_5fXqT0aPz3LmVw8RkYc2Bd`."}
_IDEMPOTENCY: Final = {
    "Idempotency-Key": "Up to 255 printable ASCII characters that name this request. Sent again within ten minutes "
    "with the same body, it gets the same answer and nothing is done twice."
}
_CONDITION: Final = {"If-None-Match": "An `ETag` of this document; while it has not changed, the answer is 304."}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what it is for, what it takes and gives, and how it can be refused besides what its route implies.

    *answer* is the model of the answer, None where there is no body; *media_type* replaces it for what is not described
    by a model. *login* asks for a login token. *body_needed* is False where the body may be left out.
    *path*, *headers* and *sends* describe parameters in the path, in the head, and headers of the answer.
    *links* are operations that take the answer's `id`.
    """

    tag: str
    summary: str
    description: str
    status: int = 200
    answer: type[View] | None = None
    media_type: str = "application/json"
    body: type[Body] | None = None
    body_needed: bool = True
    query: type[Body] | None = None
    login: bool = False
    path: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING)
    sends: tuple[str, ...] = ()
    refusals: tuple[KnownRefusal, ...] = ()
    links: tuple[str, ...] = ()

    def all_refusals(self, *, keyed: bool, limited: bool) -> list[KnownRefusal]:
        """Give every way to be refused, once each; *keyed* routes ask for an API key, *limited* ones have limits."""
        found = [*known.FOR_ALL, *self.refusals]
        if self.body is not None:
            found += known.WITH_BODY
        if self.query is not None:
            found.append(known.INVALID)
        if self.login:
            found += known.WITH_LOGIN
        if keyed:
            found += known.WITH_KEY
        if limited:
            found.append(known.THROTTLED)
        return list({refusal.name: refusal for refusal in found}.values())


OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        "login": Operation(
            tag="Login",
            summary="Log in",
            description="Gives a token for the management of keys. Only failures count against the limit: 429 after "
            "too many with one e-mail from one address, or from one address in all.",
            body=LoginBody,
            answer=views.LoginAnswer,
            refusals=(known.WRONG_CREDENTIALS, known.THROTTLED, known.OVERLOADED, known.UNAVAILABLE),
        ),
        "jwks": Operation(
            tag="Login",
            summary="Get the public keys of what is signed here",
            description="The keys that login tokens, and identities for backends, can be verified with, as a JWK set "
            "(RFC 7517).",
            answer=views.JsonWebKeySet,
            refusals=(known.UNAVAILABLE,),
        ),
        "keys.create": Operation(
            tag="API keys",
            summary="Create a key",
            description="Makes a key and shows it, this once: it cannot be shown again.",
            login=True,
            body=CreateBody,
            headers=_IDEMPOTENCY,
            status=201,
            answer=views.NewKeyView,
            sends=("Idempotency-Replayed",),
            refusals=(known.CONFLICT,),
            links=(
                "keys.get",
                "keys.update",
                "keys.delete",
                "keys.rotate",
                "keys.audit",
                "keys.deliveries",
                "keys.stats",
            ),
        ),
        "keys.list": Operation(
            tag="API keys",
            summary="List keys",
            description="A page of the account's keys, newest first. Unknown parameters are ignored.",
            login=True,
            query=PageQuery,
            answer=views.KeyPage,
        ),
        "keys.get": Operation(
            tag="API keys",
            summary="Get a key",
            description="Shows a key, without anything secret.",
            login=True,
            path=_KEY_ID,
            answer=views.KeyView,
            refusals=(known.NO_SUCH_KEY,),
        ),
        "keys.update": Operation(
            tag="API keys",
            summary="Change a key",
            description="Changes what the body names, and nothing else. In force on all instances at once. `REVOKED` "
            "is final.",
            login=True,
            path=_KEY_ID,
            body=UpdateBody,
            answer=views.ChangedKeyView,
            refusals=(known.NO_SUCH_KEY, known.CONFLICT),
        ),
        "keys.delete": Operation(
            tag="API keys",
            summary="Delete a key",
            description="The key stops working at once, and is not shown any more. Its audit log stays.",
            login=True,
            path=_KEY_ID,
            status=204,
            refusals=(known.NO_SUCH_KEY,),
        ),
        "keys.rotate": Operation(
            tag="API keys",
            summary="Rotate a key",
            description="Gives the key a new secret under the same id, and shows it, this once. The old one goes on "
            "working for `graceSeconds`. Without a body there is no grace.",
            login=True,
            path=_KEY_ID,
            body=RotateBody,
            body_needed=False,
            headers=_IDEMPOTENCY,
            answer=views.NewKeyView,
            sends=("Idempotency-Replayed",),
            refusals=(known.NO_SUCH_KEY, known.CONFLICT),
        ),
        "keys.rotate_webhook_secret": Operation(
            tag="API keys",
            summary="Rotate a key's webhook secret",
            description="Gives the key a new webhook secret and shows it, this once. For `graceSeconds`, a day by "
            "default, webhooks carry two signatures, of the old secret and of the new one.",
            login=True,
            path=_KEY_ID,
            body=RotateWebhookSecretBody,
            body_needed=False,
            headers=_IDEMPOTENCY,
            answer=views.ChangedKeyView,
            sends=("Idempotency-Replayed",),
            refusals=(known.NO_SUCH_KEY, known.CONFLICT),
        ),
        "keys.audit": Operation(
            tag="API keys",
            summary="See what was done to a key",
            description="A page of the changes of a key, newest first; also of a deleted one.",
            login=True,
            path=_KEY_ID,
            query=AuditQuery,
            answer=views.AuditPageView,
            refusals=(known.NO_SUCH_KEY,),
        ),
        "keys.deliveries": Operation(
            tag="Webhooks",
            summary="See the webhooks of a key",
            description="A page of what was sent to the key's webhook, waits to be sent or was given up, newest first.",
            login=True,
            path=_KEY_ID,
            query=DeliveriesQuery,
            answer=delivery_views.DeliveryPageView,
            refusals=(known.NO_SUCH_KEY,),
        ),
        "keys.redeliver": Operation(
            tag="Webhooks",
            summary="Send a webhook again",
            description="Has a delivery made again, whatever came of it, with the same `webhook-id` and body, and as "
            "many attempts as a new one has. While the webhook is not `ACTIVE` it waits.",
            login=True,
            path={**_KEY_ID, "deliveryId": "The id of the delivery, which is its `webhook-id`."},
            status=202,
            answer=delivery_views.DeliveryView,
            refusals=(known.NO_SUCH_KEY,),
        ),
        "keys.stats": Operation(
            tag="Usage",
            summary="Get the statistics of a key",
            description="What the key was used for in a period that ends now; also of a deleted one. A request is "
            "counted within two seconds.",
            login=True,
            path=_KEY_ID,
            query=StatisticsQuery,
            answer=usage_views.StatisticsView,
            refusals=(known.NO_SUCH_KEY,),
        ),
        "usage": Operation(
            tag="Usage",
            summary="Get the usage of the account",
            description="What the account's keys were used for in a period that ends now, by key, endpoint or day.",
            login=True,
            query=UsageQuery,
            answer=usage_views.UsageView,
        ),
        "usage.csv": Operation(
            tag="Usage",
            summary="Download the usage of the account",
            description="The same as comma-separated values (RFC 4180), with the same columns.",
            login=True,
            query=UsageQuery,
            media_type="text/csv",
        ),
        "webhooks.test": Operation(
            tag="Webhooks",
            summary="Send a test event",
            description="Sends an event of any name to the webhook of the key that asks, now and once, and tells what "
            "came of it; when that takes longer than four seconds, only the id of the delivery. A key without a "
            "`webhookUrl` gets 200 too, and nothing is sent: a quick test of the connection.",
            body=WebhookTestBody,
            answer=views.WebhookTestAnswer,
            refusals=(known.TESTS_OVERLOADED,),
        ),
        "openapi": Operation(
            tag="Documents",
            summary="Get this description",
            description="This API as an OpenAPI 3.1 document. It changes with the configuration only.",
            headers=_CONDITION,
            sends=("ETag",),
        ),
        "docs": Operation(
            tag="Documents",
            summary="Read this description",
            description="The same as a page for people. It loads nothing else, and needs no JavaScript.",
            media_type="text/html",
            headers=_CONDITION,
            sends=("ETag",),
        ),
    }
)
