"""Usage events for tests of what they are sent to."""

from __future__ import annotations

import itertools
import json
from typing import Any

from gateway.core.events import UsageEvent

_serial = itertools.count(1)


def members_of(**members: Any) -> dict[str, Any]:
    """The members of an event (contract section 9), which has an id of its own."""
    return {
        "id": f"0199b2f0-0000-7000-8000-{next(_serial):012x}",
        "at": "2026-11-24T12:00:00.123Z",
        "requestId": "req_0123456789abcdef",
        "accountId": None,
        "keyId": None,
        "route": "budgets.read",
        "endpoint": "/api/public/budgets",
        "method": "GET",
        "path": "/api/public/budgets",
        "clientIp": "203.0.113.7",
        "status": 200,
        "outcome": "admitted",
        "upstream": None,
        "target": None,
        "durationUs": 1,
        "upstreamUs": None,
        "bytesIn": 0,
        "bytesOut": 0,
        "mode": "proxy",
        "configVersion": "0123456789ab",
        "schema": 1,
    } | members


def usage_event(**members: Any) -> UsageEvent:
    """An event as the data plane makes it, with what a plain request has where nothing is said."""
    plain: dict[str, Any] = {
        "id": "0197a1b2-0000-7000-8000-000000000000",
        "at": "2026-05-01T12:00:00.123Z",
        "request_id": "req_0123456789abcdef",
        "account_id": None,
        "key_id": None,
        "route": "budgets.read",
        "endpoint": "/api/public/budgets/{id}",
        "method": "GET",
        "path": "/api/public/budgets/7",
        "client_address": "203.0.113.7",
        "status": 200,
        "outcome": "admitted",
        "upstream": None,
        "target": None,
        "duration_us": 1500,
        "upstream_us": None,
        "bytes_in": 0,
        "bytes_out": 0,
        "config_version": "c0ffee",
    }
    return UsageEvent(**plain | members)


def event(**members: Any) -> bytes:
    """The same as the journal has it."""
    return json.dumps(members_of(**members)).encode()
