"""Examples of bodies, by the name of the model that they are of; tests hold them against their schemas.

They are those of the API Keys page, so that what customers read in two places is the same.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_ID: Final = "api_key_5fXqT0aPz3LmVw8RkYc2Bd"
_PREFIX: Final = "bk_live_1234"
_EXPIRY: Final = "2099-12-31T23:59:59.000Z"
_MADE: Final = "2027-01-15T08:00:00.000Z"

_CREATE: Final[dict[str, Any]] = {
    "name": "My E-commerce Integration",
    "description": "API key for Shopify integration",
    "scopes": ["READ_BUDGETS", "WRITE_BUDGETS"],
    "rateLimitPerHour": 1000,
    "allowedIps": ["192.168.1.100", "10.0.0.50"],
    "expiresAt": _EXPIRY,
    "webhookUrl": "https://myapp.com/webhooks/billoget",
}
_SHOWN: Final[dict[str, Any]] = {
    "id": _ID,
    **_CREATE,
    "keyPrefix": _PREFIX,
    "status": "ACTIVE",
    "createdAt": _MADE,
}
_KEY: Final[dict[str, Any]] = {
    **_SHOWN,
    "webhookEvents": None,
    "webhookStatus": "ACTIVE",
    "updatedAt": _MADE,
    "lastUsedAt": None,
}
_NEW: Final[dict[str, Any]] = {
    **_SHOWN,
    "key": "bk_live_1234567890abcdef1234567890abcdef",
    "webhookSecret": "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
}
_ENTRY: Final[dict[str, Any]] = {
    "id": "42",
    "at": _MADE,
    "action": "key.changed",
    "keyId": _ID,
    "accountId": "account_2Yd9sKp0QnWcVb7RtHx4Lm",
    "actor": {"kind": "user", "id": "user_8GhJ3kLqZxC1vB6nM0pRtY", "role": "member"},
    "address": "203.0.113.9",
    "requestId": "req_5f2b8c1d9e3a4b6f",
    "changes": [{"field": "rateLimitPerHour", "old": 1000, "new": 2000}],
}
_SUMS: Final[dict[str, Any]] = {
    "totalRequests": 2450,
    "successfulRequests": 2380,
    "errorRequests": 70,
    "averageResponseTime": 245.0,
    "p50ResponseTime": 180.2,
    "p95ResponseTime": 611.9,
    "p99ResponseTime": 902.4,
    "unknownRequests": 0,
}
_DELIVERY: Final[dict[str, Any]] = {
    "id": "delivery_0b6f3c1e5d2a4f7c9e8b7a6d5c4b3a29",
    "event": "budget.created",
    "eventId": "019b2f00-5c3a-7d41-8e2f-3a4b5c6d7e8f",
    "timestamp": _MADE,
    "status": "PENDING",
    "attempts": 1,
    "nextAttemptAt": "2027-01-15T08:00:15.000Z",
    "finishedAt": None,
    "createdAt": _MADE,
    "history": [{"at": _MADE, "statusCode": 500, "durationMs": 12, "failure": "status"}],
}
_PAGINATION: Final = {"page": 1, "limit": 20, "total": 1, "hasMore": False}
_TOKEN: Final = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJl"  # noqa: S105  # nobody's

EXAMPLES: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "LoginBody": {"email": "your-email@example.com", "password": "your-password"},
        "LoginAnswer": {
            "token": _TOKEN,
            "accessToken": _TOKEN,
            "tokenType": "Bearer",
            "expiresIn": 3600,
            "user": {"id": "user_8GhJ3kLqZxC1vB6nM0pRtY", "email": "your-email@example.com"},
        },
        "JsonWebKeySet": {
            "keys": [
                {
                    "kty": "OKP",
                    "crv": "Ed25519",
                    "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
                    "kid": "0123456789abcdef",
                    "alg": "EdDSA",
                    "use": "sig",
                }
            ]
        },
        "CreateBody": _CREATE,
        "NewKeyView": _NEW,
        "KeyPage": {"data": [_KEY], "pagination": _PAGINATION},
        "KeyView": _KEY,
        "UpdateBody": {"name": "Updated Integration Name", "status": "ACTIVE", "rateLimitPerHour": 2000},
        "ChangedKeyView": {**_KEY, "name": "Updated Integration Name", "rateLimitPerHour": 2000},
        "RotateBody": {"graceSeconds": 3600},
        "RotateWebhookSecretBody": {"graceSeconds": 86400},
        "AuditPageView": {"data": [_ENTRY], "pagination": _PAGINATION},
        "DeliveryPageView": {"data": [_DELIVERY], "pagination": _PAGINATION},
        "DeliveryView": _DELIVERY,
        "StatisticsView": {
            "period": "7d",
            **_SUMS,
            "topEndpoints": [
                {"endpoint": "/api/public/budgets", "method": "GET", "count": 1200},
                {"endpoint": "/api/public/customers", "method": "POST", "count": 800},
            ],
            "dailyUsage": [{"date": "2024-01-15", "requests": 350}, {"date": "2024-01-16", "requests": 420}],
        },
        "UsageView": {"period": "7d", "groupBy": "key", "data": [{"keyId": _ID, **_SUMS}]},
        "WebhookTestBody": {"event": "budget.created", "data": {"id": 123}},
        "WebhookTestAnswer": {
            "data": {
                "success": True,
                "message": "Connection successful. The webhook took the event",
                "timestamp": _MADE,
                "apiKey": _PREFIX,
                "deliveryId": "delivery_4TqVbW0sLk9XcR2mYh7ZaN",
                "delivered": True,
                "statusCode": 204,
                "durationMs": 87,
                "failure": None,
            }
        },
    }
)
