"""Reports of proxies: what nginx, or anybody on the internal listener, tells of a request is in its event, once."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

from tests.backends import plain, raw
from tests.demos import wait_until
from tests.wire import CutShort, Wire, fresh_address

if TYPE_CHECKING:
    from tests.gateways import Gateway
    from tests.proxies import Modes

BUDGETS, REPORT, ENDPOINT = "/api/public/budgets", "/_gateway/report", "/_gateway/authz/forward"
OF_NOBODY = "01990000-0000-7000-8000-000000000000"


def decided(gateway: Gateway) -> tuple[str, str]:
    """Have a request decided on; give the ids of the event and of the request."""
    with Wire(gateway.admin_port) as wire:
        fields = ("X-Forwarded-Method: GET", f"X-Forwarded-Uri: {BUDGETS}")
        answer = wire.ask("GET", ENDPOINT, gateway.readonly, fields)
    return answer.one("x-gateway-event-id"), answer.one("x-request-id")


def line(event_id: str, status: int = 200, **members: Any) -> bytes:
    return json.dumps({"id": event_id, "status": status, "seconds": 0.25} | members).encode()


def report(gateway: Gateway, *lines: bytes) -> dict[str, int]:
    with Wire(gateway.admin_port) as wire:
        answer = wire.ask("POST", REPORT, body=b"\n".join(lines))
    assert answer.status == 200
    return {name: count for name, count in answer.json.items() if count}


def ended(gateway: Gateway, request_id: str) -> dict[str, Any]:
    """Wait until the event of a request has a status, and give it."""
    assert wait_until(lambda: gateway.event(request_id)["status"] is not None, 10)
    return gateway.event(request_id)


def settled(gateway: Gateway, result: str) -> float:
    return gateway.metric(f'gateway_outcomes_settled_total{{result="{result}"}}')


def test_what_is_posted_completes_the_event_once(gateway: Gateway) -> None:
    (event_id, request_id), (other, other_request) = decided(gateway), decided(gateway)
    told = line(event_id, 404, bytesIn=7, bytesOut=1234, upstreamSeconds=0.2)
    assert report(gateway, told, b"", line(other)) == {"accepted": 2}
    event = ended(gateway, request_id)
    assert (event["status"], event["duration_us"], event["upstream_us"]) == (404, 250_000, 200_000)
    assert (event["bytes_in"], event["bytes_out"], event["outcome"]) == (7, 1234, "admitted")
    before = settled(gateway, "repeated")
    assert report(gateway, line(event_id, 500), line(other, 500)) == {"accepted": 2}
    assert wait_until(lambda: settled(gateway, "repeated") == before + 2, 10)
    assert (ended(gateway, request_id)["status"], ended(gateway, other_request)["status"]) == (404, 200)


def test_what_is_no_report_is_counted_and_changes_nothing(gateway: Gateway) -> None:
    event_id, request_id = decided(gateway)
    nonsense = [
        *(b"hello", b"[]", b"\xff\xff", b'{"id": 1}', b"{" * 5_000),
        *(line("nobody"), line(request_id), line(event_id.upper()), line(f"{event_id[:14]}4{event_id[15:]}")),
        line(f"fff{event_id[3:]}"),
        *(line(event_id, 99), line(event_id, 600), line(event_id, seconds=-1), line(event_id, bytesOut=2**60)),
        *(line(event_id, seconds="1"), line(event_id, bytesIn=1.5), line(event_id, upstreamSeconds=1e99)),
    ]
    assert report(gateway, *nonsense, line(OF_NOBODY)) == {"malformed": len(nonsense), "late": 1}
    assert gateway.event(request_id)["status"] is None
    assert report(gateway, line(event_id, 201)) == {"accepted": 1}
    assert ended(gateway, request_id)["status"] == 201


def test_reports_are_posted_and_nothing_else(gateway: Gateway) -> None:
    with Wire(gateway.admin_port) as wire:
        assert wire.ask("GET", REPORT).status == 405
    with Wire(gateway.admin_port) as wire:
        assert wire.ask("POST", REPORT, body=b"\n" * 2_000_000).status == 413
    assert gateway.ask("POST", REPORT, body=b"{}").status == 404, "clients cannot report"


def test_only_an_admission_has_something_to_report(gateway: Gateway) -> None:
    with Wire(gateway.admin_port) as wire:
        refused = wire.ask("GET", ENDPOINT, None, ("X-Forwarded-Method: GET", f"X-Forwarded-Uri: {BUDGETS}"))
    assert refused.status == 401
    assert not refused.all("x-gateway-event-id")


def through(modes: Modes, method: str = "GET", *fields: str, body: bytes | None = None) -> dict[str, Any]:
    """Ask through nginx; give the event as nginx completed it."""
    with modes.proxies["nginx"].connect(fresh_address()) as wire:
        answer = wire.ask(method, BUDGETS, modes.gateway.everything, fields, body)
    assert not answer.all("x-gateway-event-id")
    return ended(modes.gateway, answer.one("x-request-id"))


def test_nginx_tells_of_every_request_that_was_admitted(modes: Modes) -> None:
    gateway = modes.gateway
    malformed = 'gateway_outcome_reports_total{result="malformed"}'
    before = gateway.metric(malformed)
    gateway.backend.answer = plain(b"12345", "201 Created")
    event = through(modes, "POST", body=b"hello world")
    assert (event["status"], event["bytes_in"], event["bytes_out"]) == (201, 11, 5)
    assert event["duration_us"] >= event["upstream_us"] >= 0
    assert event["mode"] == "sidecar"
    assert not gateway.backend.last.all("x-gateway-event-id")
    gateway.backend.answer = raw(b"", close=True)
    event = through(modes)
    assert (event["status"], event["outcome"]) == (502, "admitted")
    gateway.backend.forget()
    assert gateway.metric(malformed) == before


def test_nginx_tells_of_an_answer_that_broke_off(modes: Modes) -> None:
    query = "SELECT count(*) AS number FROM usage_events WHERE bytes_out = 4 AND status = 200"
    (before,) = modes.gateway.fetch(query)
    modes.gateway.backend.answer = raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", close=True)
    with modes.proxies["nginx"].connect(fresh_address()) as wire, pytest.raises(CutShort):
        wire.ask("GET", BUDGETS, modes.gateway.everything)
    modes.gateway.backend.forget()
    assert wait_until(lambda: modes.gateway.fetch(query)[0]["number"] > before["number"], 10)


def test_a_datagram_that_is_no_report_does_no_harm(modes: Modes) -> None:
    event_id, request_id = decided(modes.gateway)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.connect(str(modes.gateway.state / "reports.sock"))
        head = b"<190>Nov 28 20:00:00 gateway: "
        for datagram in (b"", b"\x00" * 3_000, head, head + b"{", head + line("x"), b"{" + line(event_id, 418)):
            sender.send(datagram)
        sender.send(head + line(event_id, 203))
    assert ended(modes.gateway, request_id)["status"] == 203
