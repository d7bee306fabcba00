"""Usage events for tests of what they are sent to."""

from __future__ import annotations

import itertools
import json
from typing import Any

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


def event(**members: Any) -> bytes:
    """The same as the journal has it."""
    return json.dumps(members_of(**members)).encode()
