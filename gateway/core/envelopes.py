"""Envelopes: a usage event, or an outcome, as a CloudEvent 1.0 in JSON, for readers outside of the gateway."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final

from gateway.core.events import SCHEMA
from gateway.core.outcomes import began_at, is_outcome

TYPE: Final = f"gateway.usage.v{SCHEMA}"
SCHEMA_ID: Final = f"urn:gateway:usage-event:{SCHEMA}"
"""The `$id` of config/usage-event.v1.schema.json."""
OUTCOME_TYPE: Final = f"gateway.outcome.v{SCHEMA}"
OUTCOME_SCHEMA_ID: Final = f"{SCHEMA_ID}#/$defs/outcome"


class NotAnEvent(ValueError):
    """The text is no usage event."""


def envelope(event: bytes, source: str) -> bytes:
    """Wrap the JSON text of *event*, whose id the envelope takes over; its subject is the key. Raises NotAnEvent.

    The envelope of an outcome has the id of its event with `/outcome` behind it, and its subject is the event.
    """
    try:
        about = _about_outcome(json.loads(event)) if is_outcome(event) else _about_event(json.loads(event))
    except (ValueError, KeyError, TypeError) as error:
        raise NotAnEvent from error
    attributes = {"specversion": "1.0", "source": source, **about, "datacontenttype": "application/json"}
    return b'%b,"data":%b}' % (json.dumps(attributes, separators=(",", ":")).removesuffix("}").encode(), event)


def _about_event(members: dict[str, Any]) -> dict[str, str]:
    key_id = members["keyId"]
    about = {"id": members["id"], "type": TYPE, "time": members["at"], "dataschema": SCHEMA_ID}
    return about | ({"subject": key_id} if key_id else {})


def _about_outcome(members: dict[str, Any]) -> dict[str, str]:
    event_id = members["outcomeOf"]
    began = began_at(event_id)
    if began is None:
        raise ValueError
    time = datetime.fromtimestamp(began, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    about = {"id": f"{event_id}/outcome", "type": OUTCOME_TYPE, "time": time, "dataschema": OUTCOME_SCHEMA_ID}
    return about | {"subject": event_id}
