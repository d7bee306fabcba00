"""One decision, from top to bottom: original request → facts → route → `Access.check` → answer, and its usage event.

The same steps as those of a proxied request, with another reader and another writer; there is no second policy.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import Struct

from gateway.accounting.record import DecisionRecord
from gateway.core.answers import error_answer
from gateway.core.decision import AddressNotAllowed, Admit, BadRequest, InternalError, NotFound, UsageUnrecordable
from gateway.core.denials import refuse
from gateway.core.facts import RequestFacts
from gateway.core.policy import unrouted
from gateway.core.routes import Route
from gateway.sidecar.answer import admitted, refused
from gateway.sidecar.dialects import Dialect, NotTold, read_original
from gateway.sidecar.envoy import for_envoy
from gateway.sidecar.read import SOCKET_PEER, read_client, read_facts, too_large, unremovable
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.access import Access
    from gateway.accounting.moments import Moments
    from gateway.adapters.journal import Journal
    from gateway.core.decision import Denial
    from gateway.live import Live
    from gateway.sidecar.answer import Reply
    from gateway.sidecar.dialects import Fields, Original
    from gateway.sidecar.read import Client
    from gateway.telemetry.telemetry import Telemetry

log = structlog.get_logger()

CALLERS_REMEMBERED_MAX: Final = 100
_TOKEN_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


class Asked(Struct):
    """A proxy's question, whichever tier has read it. *rest* is its target behind the endpoint's path.

    *names* are all names of its *fields*, as sent; *peer* is the caller's address, empty on a Unix socket.
    """

    method: str
    rest: str
    fields: Fields
    names: Sequence[bytes]
    peer: str


class Decisions:
    """Answers proxies that ask for a decision, once for every request of theirs."""

    def __init__(
        self,
        live: Live[Any],
        access: Access,
        journal: Journal,
        telemetry: Telemetry,
        moments: Moments,
        *,
        refuse_unrecorded: bool = False,
    ) -> None:
        """Take the collaborators. With *refuse_unrecorded* a full journal admits nothing."""
        self._live = live
        self._access = access
        self._journal = journal
        self._telemetry = telemetry
        self._moments = moments
        self._refuse_unrecorded = refuse_unrecorded
        self._strangers: set[str] = set()

    async def decide(self, asked: Asked) -> Reply:
        """Decide; whatever happens, nothing but an admission is answered with 200, and it is recorded.

        The usage event is in the journal by the end of this loop turn, and before any answer queued there.
        """
        fields = asked.fields
        original = read_original(asked.method, asked.rest, fields)
        method = "-" if isinstance(original, NotTold) else original.method
        snapshot = self._live.current
        client = read_client(fields, asked.peer, snapshot)
        record = DecisionRecord(method, client.address, self._moments.now(), snapshot)
        told = fields.getall("X-Request-Id", ())
        if told and _TOKEN_ID.fullmatch(told[0]) is not None:
            record.request_id = told[0]
        try:
            return await self._decide(asked, original, client, record)
        except asyncio.CancelledError:
            record.outcome = "client_gone"
            raise
        except Exception:
            log.exception("bug", request_id=record.request_id)
            return self._refuse(original.dialect, record, InternalError())
        finally:
            record.finish(self._journal, self._telemetry, self._moments)

    async def _decide(
        self, asked: Asked, original: Original | NotTold, client: Client, record: DecisionRecord
    ) -> Reply:
        snapshot, dialect, fields = record.snapshot, original.dialect, asked.fields
        if isinstance(original, NotTold):
            return self._refuse(dialect, record, BadRequest(original.reason))
        facts = read_facts(original, fields, client, snapshot)
        if not isinstance(facts, RequestFacts):
            return self._refuse(dialect, record, facts)
        record.facts = facts
        if dialect is Dialect.NGINX:
            odd = unremovable(asked.names, snapshot)
            if odd is not None:
                return self._refuse(dialect, record, odd)

        route = snapshot.routes.match(facts.method, facts.target)
        if not isinstance(route, Route):
            return self._refuse(dialect, record, unrouted(route))
        if route.upstream is None:
            # It is for the gateway itself, which the proxy asks in its own right.
            return self._refuse(dialect, record, NotFound())
        record.route = route

        if self._refuse_unrecorded and self._journal.full:
            record.recorded = False
            return self._refuse(dialect, record, UsageUnrecordable())
        verdict = await self._access.check(facts, route, snapshot)
        record.key = verdict.key
        decision = verdict.decision
        if not isinstance(decision, Admit):
            if isinstance(decision, AddressNotAllowed) and not client.known:
                self._hint(client.address)
            return self._refuse(dialect, record, decision)
        record.taken = verdict.taken
        large = too_large(fields, route)
        if large is not None:
            return self._refuse(dialect, record, large)
        event_id = record.event_id(self._moments)
        reply = admitted(decision, route, facts.target, verdict.taken, record.request_id, event_id)
        if dialect is Dialect.ENVOY:
            sent = fields.getall("Authorization", ())
            return for_envoy(reply, decision, route, facts.target.path, sent, snapshot.key_format)
        return reply

    def _refuse(self, dialect: Dialect, record: DecisionRecord, denial: Denial) -> Reply:
        refusal = refuse(denial)
        record.outcome, record.status = refusal.code, refusal.status
        self._telemetry.add(metrics.DENIALS, 1, refusal.code)
        answer = error_answer(refusal, record.request_id, record.now)
        record.bytes_out = len(answer.body)
        return refused(answer, dialect, record.taken, record.request_id)

    def _hint(self, caller: str) -> None:
        """Say once to the operator why a caller's clients pass no address list."""
        if caller not in self._strangers and len(self._strangers) < CALLERS_REMEMBERED_MAX:
            self._strangers.add(caller)
            setting = "sidecar.socket_trusted" if caller == SOCKET_PEER else "trusted_proxies"
            log.warning("client address not believed", caller=caller, setting=setting)
