"""One request, from top to bottom: facts → route → decision → answer or upstream → usage event and metrics.

The complete tier: it serves every request. A faster one may take the plain ones before it, and calls the same `Access`.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import hdrs

from gateway.accounting.record import RequestRecord
from gateway.adapters.http.faults import (
    DescriptorsExhausted,
    UpstreamAway,
    UpstreamBusy,
    UpstreamFault,
    UpstreamTooSlow,
)
from gateway.core.answers import Answer, Answers, Asked, error_answer
from gateway.core.decision import (
    Admit,
    BadRequest,
    BodyTimedOut,
    BodyTooLarge,
    Denial,
    InternalError,
    Overloaded,
    UpstreamFailed,
    UpstreamOverloaded,
    UpstreamTimedOut,
    UpstreamUnavailable,
    UsageUnrecordable,
)
from gateway.core.denials import refuse
from gateway.core.facts import RequestFacts
from gateway.core.headers import rate_limit_lines
from gateway.core.policy import unrouted
from gateway.core.routes import Matched, Route
from gateway.proxy.body import BodyGarbledFault, BodyStalledFault, BodyTooLargeFault, ClientGone, read_body
from gateway.proxy.forward import Forwarder
from gateway.proxy.read import is_preflight, odd_request, opens_websocket, read_facts, request_id_from
from gateway.proxy.respond import CLOSES, GOES_ON, connection_line, own_answer
from gateway.proxy.watch import Watch
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from gateway.access import Access
    from gateway.accounting.moments import Moments
    from gateway.adapters.http.upstream import Upstream
    from gateway.adapters.journal import Journal
    from gateway.core.cors import Cors
    from gateway.live import Live
    from gateway.proxy.incoming import ClientRequest
    from gateway.proxy.respond import Written
    from gateway.telemetry.telemetry import Telemetry

TELL_AGAIN_S: Final = 60.0

log = structlog.get_logger()


class Gateway:
    """Serves the public listener; called once for every request."""

    def __init__(
        self,
        live: Live[Upstream],
        access: Access,
        answers: Answers,
        journal: Journal,
        telemetry: Telemetry,
        moments: Moments,
        *,
        refuse_unrecorded: bool = False,
    ) -> None:
        """Take the collaborators; nothing is started. With *refuse_unrecorded* a full journal stops forwarding."""
        self._live = live
        self._access = access
        self._answers = answers
        self._journal = journal
        self._telemetry = telemetry
        self._moments = moments
        self.watch = Watch(access)
        self._forwarder = Forwarder(journal, telemetry, moments, self.watch)
        self._refuse_unrecorded = refuse_unrecorded
        self._told_of_descriptors = float("-inf")
        self.in_flight = 0

    async def __call__(self, request: ClientRequest) -> Written:
        """Serve *request*; whatever happens, it is answered or its connection is closed, and it is recorded."""
        record = RequestRecord(request.head.method, request.peer, self._moments.now(), self._live.current)
        self.in_flight += 1
        try:
            # What may go on for hours is bounded by the connections, and takes no place of a request.
            most = record.snapshot.request_limits.in_flight_max
            if self.in_flight > most and self.in_flight - len(self.watch) > most:
                return self._refuse(request, record, Overloaded())
            return await self._serve(request, record)
        except UpstreamFault as fault:
            return self._refuse(request, record, self._blame(record, fault))
        except BodyTooLargeFault:
            return self._refuse(request, record, BodyTooLarge(record.route.body_max_bytes if record.route else 0))
        except BodyGarbledFault:
            return self._refuse(request, record, BadRequest("The request body is not validly framed"))
        except BodyStalledFault:
            return self._refuse(request, record, BodyTimedOut())
        except ClientGone:
            return CLOSES
        except asyncio.CancelledError:
            record.outcome = "client_gone" if record.outcome == "admitted" else record.outcome
            raise
        except Exception:
            log.exception("bug", request_id=record.request_id)
            return self._refuse(request, record, InternalError())
        finally:
            self.in_flight -= 1
            record.finish(self._journal, self._telemetry, self._moments)

    async def _serve(self, request: ClientRequest, record: RequestRecord) -> Written:
        snapshot, upstreams = record.snapshot, self._live.upstreams  # Nothing has waited since the snapshot was taken.
        facts = read_facts(request.head, record.peer, snapshot, request.head_bytes)
        if not isinstance(facts, RequestFacts):
            if snapshot.cors is not None:
                record.cors = snapshot.cors.lines(request.head.headers.getall(hdrs.ORIGIN, ()))
            return self._refuse(request, record, facts)
        record.facts = facts
        if snapshot.trusted_proxies.texts and record.peer in snapshot.trusted_proxies:
            record.from_trusted = True
            record.request_id = request_id_from(request.head) or record.request_id

        route = snapshot.routes.match(facts.method, facts.target)
        if not isinstance(route, Route):
            return self._without_route(request, record, route)
        record.route = route
        if route.cors is not None:
            record.cors = route.cors.lines(request.head.headers.getall(hdrs.ORIGIN, ()))
            if is_preflight(request.head):
                return self._preflight(request, record, route.cors)

        if self._refuse_unrecorded and route.upstream is not None and self._journal.full:
            record.recorded = False
            return self._refuse(request, record, UsageUnrecordable())
        verdict = await self._access.check(facts, route, snapshot)
        record.key = verdict.key
        decision = verdict.decision
        if not isinstance(decision, Admit):
            return self._refuse(request, record, decision)
        record.taken = verdict.taken

        odd = odd_request(request, route)
        if odd is not None:
            return self._refuse(request, record, odd)
        if route.upstream is None:
            return await self._answer(request, record, route, decision)
        upstream = upstreams[route.upstream]
        if route.websocket_idle_s is not None and opens_websocket(request.head):
            return await self._forwarder.forward(request, record, upstream, decision, upgrade=True)
        return await self._forwarder.forward(request, record, upstream, decision)

    def _without_route(self, request: ClientRequest, record: RequestRecord, found: Matched) -> Written:
        """Answer what no route takes: a preflight, so that what it asks for can be read, even a refusal; or refuse."""
        facts, snapshot, headers = record.facts, record.snapshot, request.head.headers
        assert facts is not None
        asks, cors = is_preflight(request.head), snapshot.cors
        if asks:
            wanted = snapshot.routes.match(headers[hdrs.ACCESS_CONTROL_REQUEST_METHOD], facts.target)
            if isinstance(wanted, Route):
                record.route, cors = wanted, wanted.cors
        if cors is None:
            record.route = None
            return self._refuse(request, record, unrouted(found))
        record.cors = cors.lines(headers.getall(hdrs.ORIGIN, ()))
        return self._preflight(request, record, cors) if asks else self._refuse(request, record, unrouted(found))

    def _preflight(self, request: ClientRequest, record: RequestRecord, cors: Cors) -> Written:
        """Tell a browser what pages of its origin may do, without a key and without the upstream."""
        record.outcome = "preflight"
        fields = cors.preflight(request.head.headers.getall(hdrs.ORIGIN, ()))
        return self._write(request, record, Answer(204, headers=fields))

    async def _answer(self, request: ClientRequest, record: RequestRecord, route: Route, admit: Admit) -> Written:
        """Answer a request that is for the gateway itself."""
        assert route.answer is not None
        assert record.facts is not None
        idle_s = record.snapshot.request_limits.body_idle_s
        body = b"".join([piece async for piece in read_body(request, record, route.body_max_bytes, idle_s)])
        target = record.facts.target
        asked = Asked(
            snapshot=record.snapshot,
            route=route,
            method=record.method,
            segments=target.segments,
            query=target.query,
            headers=request.head.headers,
            body=body,
            client_address=record.facts.client_address,
            request_id=record.request_id,
            principal=admit.principal,
            now=record.now,
        )
        answer = await self._answers[route.answer](asked)
        record.outcome = answer.outcome
        return self._write(request, record, answer)

    def _blame(self, record: RequestRecord, fault: UpstreamFault) -> Denial:
        """Log and count what the upstream did, and give what the client is told of it."""
        name = record.route.upstream if record.route else None
        assert name is not None
        self._telemetry.add(metrics.UPSTREAM_ERRORS, 1, name, fault.kind)
        # Those that were not asked are many, and who is away or has too much is told elsewhere.
        if isinstance(fault, UpstreamAway):
            return UpstreamUnavailable(name)
        if isinstance(fault, UpstreamBusy):
            return UpstreamOverloaded(name)
        if isinstance(fault, DescriptorsExhausted):
            self._free_descriptors()
            return Overloaded()
        log.warning("upstream failed", upstream=name, kind=fault.kind, request_id=record.request_id)
        return UpstreamTimedOut(name) if isinstance(fault, UpstreamTooSlow) else UpstreamFailed(name)

    def _free_descriptors(self) -> None:
        """Let idle connections go, whichever upstream they lead to, and say once that there are too many."""
        for upstream in self._live.upstreams.values():
            for one in upstream.everyone:
                one.close_idle()
        now = monotonic()
        if now - self._told_of_descriptors >= TELL_AGAIN_S:
            self._told_of_descriptors = now
            log.warning("no file descriptors for upstreams")

    def _refuse(self, request: ClientRequest, record: RequestRecord, denial: Denial) -> Written:
        refusal = refuse(denial)
        record.outcome = refusal.code
        self._telemetry.add(metrics.DENIALS, 1, refusal.code)
        return self._write(request, record, error_answer(refusal, record.request_id, record.now))

    def _write(self, request: ClientRequest, record: RequestRecord, answer: Answer) -> Written:
        transport = request.transport
        if transport is None:
            raise ClientGone
        close = answer.close or request.head.should_close or request.unread
        head_only = record.method == "HEAD"
        data = own_answer(
            answer,
            record.request_id,
            self._moments.date(record.now),
            connection_line(request.head, close=close),
            record.cors if record.taken is None else rate_limit_lines(record.taken) + record.cors,
            head=head_only,
        )
        record.status = answer.status
        record.bytes_out = 0 if head_only else len(answer.body)
        record.finish(self._journal, self._telemetry, self._moments)
        self._journal.answer(transport, data)
        if close:
            self._journal.flush()
        return CLOSES if close else GOES_ON
