"""The documents of the API: /openapi.json and /docs. Both depend on the configuration alone, so they need no store."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gateway.core.answers import Answer, json_answer
from gateway.management.openapi.document import openapi_document
from gateway.management.openapi.page import content_security_policy, docs_page

if TYPE_CHECKING:
    from gateway.core.answers import Asked
    from gateway.core.snapshot import Snapshot

CACHING: Final = "no-cache"
"""Kept by whoever likes to, and asked for again each time: a new configuration shows at once."""

_ETAG_CHARACTERS: Final = 32


class Documents:
    """Answers GET /openapi.json and GET /docs, each made once for a snapshot."""

    def __init__(self) -> None:
        """Make nothing yet: the configuration comes with the first request."""
        self._of: Snapshot | None = None
        self._openapi = self._docs = Answer(500)

    async def openapi(self, asked: Asked) -> Answer:
        """Answer GET /openapi.json."""
        self._make(asked.snapshot)
        return _unless_known(asked, self._openapi)

    async def docs(self, asked: Asked) -> Answer:
        """Answer GET /docs."""
        self._make(asked.snapshot)
        return _unless_known(asked, self._docs)

    def _make(self, snapshot: Snapshot) -> None:
        """Make both, in a few milliseconds, when *snapshot* is a new one."""
        if self._of is snapshot:
            return
        document = openapi_document(snapshot)
        self._openapi = _kept(json_answer(200, document))
        fields = (
            ("Content-Type", "text/html; charset=utf-8"),
            ("Content-Security-Policy", content_security_policy()),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
        )
        self._docs = _kept(Answer(200, docs_page(document).encode(), fields))
        self._of = snapshot


def _kept(answer: Answer) -> Answer:
    """Give *answer* with what lets it be kept."""
    tag = f'"{hashlib.sha256(answer.body).hexdigest()[:_ETAG_CHARACTERS]}"'
    return replace(answer, headers=(*answer.headers, ("ETag", tag)), caching=CACHING)


def _unless_known(asked: Asked, answer: Answer) -> Answer:
    """Give *answer*, or 304 to who has it already (RFC 9110 section 13.1.2)."""
    tag = dict(answer.headers)["ETag"]
    known = {item.strip().removeprefix("W/") for item in asked.headers.get("If-None-Match", "").split(",")}
    if tag in known or "*" in known:
        return Answer(304, headers=(("ETag", tag),), caching=CACHING)
    return answer
