"""Heads by the ten thousand (by the million in `make fuzz`): what was decided on is what is forwarded, and nothing else.

In this process the parser, the facts, the routes and the outbound head are held against a second opinion; over the
socket the whole gateway and a recording backend are.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import EMPTY_PAYLOAD
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser
from aiohttp.http_exceptions import HttpProcessingError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from gateway.accounting.record import RequestRecord
from gateway.core.decision import Admit, Principal
from gateway.core.facts import RequestFacts
from gateway.core.headers import identity_lines
from gateway.core.oddities import Oddity
from gateway.core.routes import Pattern, Route, RouteTable
from gateway.proxy.body import framed_body
from gateway.proxy.head import PlainHeadReader, RequestHead
from gateway.proxy.outbound import outbound_head
from gateway.proxy.read import odd_request, read_facts
from gateway.settings.schema import REMOVED_HEADERS
from tests.hazards import TIERS
from tests.hazards.heads import MUTANTS, anything, mutants
from tests.hazards.oracle import Read, backend_paths, requests_in
from tests.unit.management.asking import SNAPSHOT
from tests.wire import CutShort, fresh_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiohttp.streams import StreamReader

    from tests.gateways import Gateway

SHARDS = range(4)
KEY = "bk_live_" + "a" * 32
ADMIT = Admit(Principal("key-1", "account-1", ("READ",), KEY[:12]), None)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE"})
ROUTES = (
    Route("secret", Pattern.parse("/open/customers/**"), METHODS, scope="READ", upstream="a"),
    Route("open", Pattern.parse("/open/**"), METHODS, scope="READ", upstream="a", allow_in_path=frozenset(Oddity)),
    Route("budgets", Pattern.parse("/api/public/budgets/**"), METHODS, scope="READ", upstream="a"),
    Route("customers", Pattern.parse("/api/public/customers/**"), METHODS, scope="READ", upstream="a"),
)
BELOW = {route.name: route.pattern.text.removesuffix("/**") for route in ROUTES}
OPTIONS = {"auto_decompress": False, "max_line_size": 9216, "max_field_size": 9217, "max_headers": 101}


@dataclass
class Parsed:
    """A request as both tiers give it to the gateway."""

    head: RequestHead
    stream: StreamReader
    head_bytes: int | None = None
    peer: str = "203.0.113.9"
    scheme: str = "http"
    transport: asyncio.Transport | None = None
    has_stream: bool = False
    unread: bool = False

    async def drain(self) -> None:
        """Nobody reads slowly here."""


class Pipeline:
    """What happens to bytes from a client until they would leave for an upstream."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.snapshot = replace(SNAPSHOT, routes=RouteTable(ROUTES), removed_headers=REMOVED_HEADERS)
        self.admit = replace(ADMIT, identity=identity_lines(ADMIT.principal or Principal("", "", (), "")))

    def parsed(self, raw: bytes) -> tuple[list[Parsed], bool]:
        """Give all requests as the complete tier reads them, and whether another protocol is to follow."""
        parser: Any = HttpRequestParser(BaseProtocol(self.loop), self.loop, 65536, **OPTIONS)
        try:
            messages, upgraded, _ = parser.feed_data(raw)
        except HttpProcessingError:
            return [], False
        read = [(RequestHead.from_message(head), stream) for head, stream in messages]
        return [Parsed(head, stream, has_stream=stream is not EMPTY_PAYLOAD) for head, stream in read], upgraded

    def plain(self, raw: bytes) -> Parsed | None:
        """Give the first request of *raw* as the fast tier reads it, which has to be as the complete one does."""
        size = raw.find(b"\r\n\r\n") + 4
        head = PlainHeadReader().read(raw[:size])
        if head is None:
            return None
        (same,), upgraded = self.parsed(raw[:size])
        assert not upgraded
        assert not same.has_stream
        for name in ("method", "path", "version", "should_close", "upgrade"):
            assert (name, getattr(head, name)) == (name, getattr(same.head, name))
        one, two = head.section, same.head.section
        assert (one.traceparent, one.special) == (two.traceparent, two.special)
        assert (list(one.hosts), list(one.authorizations)) == (list(two.hosts), list(two.authorizations))
        assert list(one.raw) == list(two.raw)
        assert head.headers == same.head.headers
        return Parsed(head, EMPTY_PAYLOAD, head_bytes=size)

    def forwarded(self, raw: bytes) -> Iterator[tuple[Route, RequestRecord, bytes, bytes | None]]:
        """Give route, record, outbound head and body (None while it is on its way) of all that is admitted."""
        requests, upgraded = self.parsed(raw)
        for request in requests:
            head = request.head
            record = RequestRecord(head.method, request.peer, 1.8e9, self.snapshot)
            facts = read_facts(head, record.peer, self.snapshot)
            if not isinstance(facts, RequestFacts):
                return
            record.facts = facts
            route = self.snapshot.routes.match(facts.method, facts.target)
            if not isinstance(route, Route) or odd_request(request, route) is not None:
                if head.should_close or upgraded:
                    return
                continue
            record.route = route
            framing, body = framed_body(request, record)
            start, rest = outbound_head(request, record, self.admit, framing)
            yield route, record, start + b"target:80" + rest, body if isinstance(body, bytes) else None
            if head.should_close:
                return


def judge(expected: list[Read], route: Route, record: RequestRecord, head: bytes, body: bytes | None) -> None:
    """Hold what is forwarded against the second opinion on what was sent, of which it takes its part."""
    out = requests_in(head + (body or b""))
    assert len(out) == 1, head
    sent, got = None, out[0]
    while expected and sent is None:
        candidate = expected.pop(0)
        sent = candidate if candidate.method == got.method and candidate.origin_form.endswith(got.target) else None
    assert sent is not None, head
    assert record.facts is not None
    assert got.target.decode() == record.facts.target.path + record.facts.target.query
    assert sent.origin_form in {got.target, b"/v1" + got.target, b"/v1" + got.target.removeprefix(b"/")}
    assert body is None or got.body == sent.body
    path, below = got.target.decode().partition("?")[0], BELOW[route.name]
    for read in backend_paths(path):
        assert read == below or read.startswith(below + "/"), read
        assert route.name == "secret" or not (read + "/").startswith("/open/customers/"), read
        assert route.name == "open" or {".", ".."}.isdisjoint(read.split("/"))
    assert got.all(b"host") == [b"target:80"]
    for name, value in ((b"key-id", b"key-1"), (b"account-id", b"account-1"), (b"scopes", b"READ")):
        assert got.all(b"x-gateway-" + name) == [value]
    assert len(got.all(b"content-length") + got.all(b"transfer-encoding")) <= 1
    names = [name.lower().replace(b"_", b"-").replace(b".", b"-") for name, _ in got.fields]
    assert sum(name.startswith(b"x-gateway-") for name in names) == 3
    assert not {b"authorization", b"connection", b"upgrade", b"te", b"x-http-method-override", b"forwarded"} & {*names}


def fuzz(cases: int, check: Callable[[str], None], *, mutated: bool = False) -> None:
    """Call *check* with so many requests, other ones in every run; most of them are *mutated* from others if wanted."""

    def each(text: str, seed: int) -> None:
        for mutant in mutants(text, seed) if mutated else (text,):
            check(mutant)

    examples = -(-cases // (MUTANTS + 1)) if mutated else cases
    everything = list(HealthCheck)
    bounds = hypothesis_settings(max_examples=examples, deadline=None, database=None, suppress_health_check=everything)
    bounds(given(anything, st.integers(0, 2**32))(each))()


@pytest.mark.slow
@pytest.mark.timeout(0)
@pytest.mark.parametrize("shard", SHARDS)
def test_what_was_decided_on_is_what_is_forwarded(pytestconfig: pytest.Config, shard: int) -> None:
    pipeline, tried, admitted = Pipeline(), 0, 0

    def check(text: str) -> None:
        nonlocal tried, admitted
        tried += 1
        raw = text.replace("{key}", KEY).encode("latin-1")
        expected = requests_in(raw)
        pipeline.plain(raw)
        for forwarded in pipeline.forwarded(raw):
            admitted += 1
            judge(expected, *forwarded)

    cases = pytestconfig.getoption("--cases") // len(SHARDS)
    fuzz(cases, check, mutated=True)
    pipeline.loop.close()
    assert tried >= cases
    assert admitted > cases / 100


ANSWERED = frozenset({100, 200, 400, 401, 403, 404, 405, 408, 413, 414, 417, 429, 431, 501, 502, 505})


@TIERS
@pytest.mark.timeout(0)
def test_a_backend_sees_no_request_that_was_not_sent(gateway: Gateway, pytestconfig: pytest.Config) -> None:
    key, judged = gateway.everything, 0
    sent: dict[str, list[tuple[bytes, bytes]]] = {}  # By the client's address, since what was sent may arrive late.

    def check(text: str) -> None:
        nonlocal judged
        raw = text.replace("{key}", key).encode("latin-1")
        source = fresh_address()
        reads = requests_in(raw)
        sent[source] = [(read.method, read.origin_form.removeprefix(b"/v1")) for read in reads]
        methods, refused_head = [read.method.decode("latin-1") for read in reads], False
        with gateway.connect(source) as wire:
            try:
                wire.send(raw)
                wire.half_close()
                while True:
                    answer = wire.answer(methods[0] if methods else "GET")
                    assert answer.head.startswith(b"HTTP/1.1 ")
                    assert answer.status in ANSWERED
                    if answer.status >= 200:
                        # What could not be parsed has no method, and its refusal a body: it is the last one.
                        refused_head = methods[:1] == ["HEAD"] and answer.all("connection") == ["close"]
                        del methods[:1]
            except CutShort as ended:
                rest = b"".join(ended.args)
            except ConnectionError:
                rest = b""
            assert not rest or refused_head
        arrived = gateway.backend.requests[judged:]
        judged += len(arrived)
        for received in arrived:
            line = (received.method.encode(), received.target.encode("latin-1"))
            (hops,) = [value for name, value in received.fields if name == "X-Forwarded-For"]
            wanted = sent[hops.rpartition(", ")[2]]
            assert line in wanted
            wanted.remove(line)

    fuzz(pytestconfig.getoption("--cases") // 100, check)
