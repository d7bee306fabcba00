"""Keys as the API shows them: JSON objects in camelCase (contract section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gateway.core.denials import iso_time
from gateway.core.webhook_secrets import show_secret

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.adapters.postgres.keys import CreatedKey, StoredKey


def shown(key: StoredKey) -> dict[str, Any]:
    """Show *key* without anything secret."""
    return {
        "id": key.id,
        "name": key.name,
        "description": key.description,
        "keyPrefix": key.prefix,
        "scopes": list(key.scopes),
        "rateLimitPerHour": key.rate_limit_per_hour,
        "status": key.status,
        "allowedIps": None if key.allowed_ips is None else list(key.allowed_ips),
        "expiresAt": _time(key.expires_at),
        "webhookUrl": key.webhook_url,
        "webhookEvents": None if key.webhook_events is None else list(key.webhook_events),
        "webhookStatus": None if key.webhook_url is None else key.webhook_status,
        "createdAt": _time(key.created_at),
        "updatedAt": _time(key.updated_at),
        "lastUsedAt": _time(key.last_used_at),
    }


def shown_once(created: CreatedKey, webhook_secret: bytes | None) -> dict[str, Any]:
    """Show a key with its new secret, and its *webhook_secret* where that is new too."""
    view = {**shown(created.stored), "key": created.key}
    for later in ("updatedAt", "lastUsedAt", "webhookEvents", "webhookStatus"):
        del view[later]
    if webhook_secret is not None:
        view["webhookSecret"] = show_secret(webhook_secret)
    return view


def pagination(page: int, limit: int, total: int) -> dict[str, Any]:
    """Say where in a list of *total* a page is."""
    return {"page": page, "limit": limit, "total": total, "hasMore": page * limit < total}


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso_time(moment.timestamp())
