"""Envelopes: a usage event as a CloudEvent 1.0 in JSON, for readers outside of the gateway."""

from __future__ import annotations

import json
from typing import Final

from gateway.core.events import SCHEMA

TYPE: Final = f"gateway.usage.v{SCHEMA}"
SCHEMA_ID: Final = f"urn:gateway:usage-event:{SCHEMA}"
"""The `$id` of config/usage-event.v1.schema.json."""


class NotAnEvent(ValueError):
    """The text is no usage event."""


def envelope(event: bytes, source: str) -> bytes:
    """Wrap the JSON text of *event*, whose id the envelope takes over; its subject is the key. Raises NotAnEvent."""
    try:
        members = json.loads(event)
        attributes = {
            "specversion": "1.0",
            "id": members["id"],
            "source": source,
            "type": TYPE,
            "time": members["at"],
            **({"subject": members["keyId"]} if members["keyId"] else {}),
            "datacontenttype": "application/json",
            "dataschema": SCHEMA_ID,
        }
    except (ValueError, KeyError, TypeError) as error:
        raise NotAnEvent from error
    return b'%b,"data":%b}' % (json.dumps(attributes, separators=(",", ":")).removesuffix("}").encode(), event)
