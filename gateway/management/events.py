"""Events that backends post to the internal listener: `POST /events` (contract sections 1 and 7).

They go through the journal like those of routes: none is lost once it was answered with 202, whether Postgres is there
or not, and one that is posted again under its id is told once.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

from aiohttp import web
from pydantic import Field

from gateway.core.answers import error_answer, json_answer
from gateway.core.denials import RETRY_SOON_S, Refusal, iso_time
from gateway.core.webhook_events import WebhookEvent, encode, json_data
from gateway.core.webhooks import DATA_MAX_BYTES
from gateway.management.bodies import Body, checked, is_json, parse_json
from gateway.management.key_bodies import ACCOUNT_ID_MAX_CHARACTERS
from gateway.management.refusals import Refused, invalid, wrong_type

if TYPE_CHECKING:
    from gateway.adapters.journal import Journal
    from gateway.core.answers import Answer

BODY_MAX_BYTES: Final = DATA_MAX_BYTES + 4096
EVENT_NAME: Final = r"^[a-z_]+(\.[a-z_]+)+$"

_TOO_LARGE: Final = Refusal(413, "payload_too_large", f"The request body has more than {BODY_MAX_BYTES} bytes")
_FULL: Final = Refusal(
    503,
    "service_unavailable",
    "The journal has no room, so the event cannot be kept. Try again shortly",
    None,
    (("Retry-After", str(RETRY_SOON_S)),),
)


class EventBody(Body):
    """What POST /events takes."""

    id: Annotated[str, Field(pattern=r"^[!-~]{1,100}$", description="Names the event, once for each account.")]
    account_id: Annotated[str, Field(pattern=rf"^[!-~]{{1,{ACCOUNT_ID_MAX_CHARACTERS}}}$")]
    event: Annotated[str, Field(pattern=EVENT_NAME, max_length=100)]
    data: dict[str, Any]


class EventIntake:
    """Takes events of backends into *journal*; a route of the internal listener."""

    def __init__(self, journal: Journal) -> None:
        """Take the journal."""
        self._journal = journal

    def routes(self) -> list[web.RouteDef]:
        """Give what the internal listener gets."""
        return [web.post("/events", self)]

    async def __call__(self, request: web.Request) -> web.Response:
        """Answer 202 once the event is in the journal."""
        request_id, now = f"req_{secrets.token_hex(8)}", time.time()
        try:
            answer = self._take(request.headers.get("Content-Type", ""), await _body(request), now)
        except Refused as refused:
            answer = error_answer(refused.refusal, request_id, now)
        headers = {**dict(answer.headers), "X-Request-Id": request_id, "Cache-Control": "no-store"}
        return web.Response(status=answer.status, body=answer.body, headers=headers)

    def _take(self, content_type: str, body: bytes, now: float) -> Answer:
        """Write the event down; raises Refused."""
        if not is_json(content_type):
            raise wrong_type()
        asked = checked(parse_json(body), EventBody, None)
        data = json_data(asked.data)
        if len(bytes(data)) > DATA_MAX_BYTES:
            raise invalid([("data", f"must have at most {DATA_MAX_BYTES} bytes as JSON")])
        dropped = self._journal.dropped
        self._journal.append(encode(WebhookEvent(asked.id, iso_time(now), asked.account_id, asked.event, data)))
        self._journal.flush()
        if self._journal.dropped > dropped:
            raise Refused(_FULL)
        return json_answer(202, {"id": asked.id, "status": "accepted"})


async def _body(request: web.Request) -> bytes:
    """Read the body; raises Refused where it is too large."""
    body = bytearray()
    async for piece in request.content.iter_any():
        body += piece
        if len(body) > BODY_MAX_BYTES:
            raise Refused(_TOO_LARGE)
    return bytes(body)
