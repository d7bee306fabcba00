"""From a write, or an event that a backend posts, to the receiver: what is announced, with which data, and what is not."""

from __future__ import annotations

import contextlib
import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
import requests

from tests.backends import plain, raw
from tests.demos import wait_until
from tests.webhook_receivers import Receiver, receiving_keys
from tests.wire import CutShort

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.adapters.postgres.keys import CreatedKey
    from tests.backends import Answer
    from tests.gateways import Gateway

ARRIVES_S = 10.0
BUDGETS = "/v1/api/public/budgets"
MARK = "budget.approved"
"""Posted after what is looked at: when it has come, so has all that was told before it."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()
    assert not receiver.failures


class Told:
    """A key and its account, and what its receiver is told."""

    def __init__(self, gateway: Gateway, receiver: Receiver, key: CreatedKey) -> None:
        self.gateway, self.receiver, self.key = gateway, receiver, key

    def write(self, answer: Answer, method: str = "POST", path: str = BUDGETS, key: str = "") -> int:
        self.gateway.backend.answer = answer
        return self.gateway.ask(method, path, key or self.key.key, body=b"{}").status

    def post(self, body: Any, **more: Any) -> requests.Response:
        usual = {"id": "e1", "accountId": self.key.stored.account_id, "event": MARK, "data": {"id": 7}}
        return requests.post(
            f"{self.gateway.admin_url}/events", json=usual | body if isinstance(body, dict) else body, timeout=5, **more
        )

    def messages(self, *events: str) -> list[dict[str, Any]]:
        """All that came before now, or *events* as soon as they have come."""
        if not events:
            assert self.post({"id": "mark"}).status_code == 202
            events = (MARK,)
        assert wait_until(lambda: {m["event"] for m in self.receiver.messages} >= {*events}, ARRIVES_S)
        return [message for message in self.receiver.messages if message["data"] != {"id": 7}]


@pytest.fixture
def told(optional_gateway: Gateway, receiver: Receiver) -> Told:
    return Told(optional_gateway, receiver, receiving_keys(optional_gateway, receiver)[0])


def created(body: bytes, fields: bytes = b"") -> Answer:
    return plain(body, "201 Created", fields)


def test_a_write_is_announced_with_the_data_of_its_answer_as_they_were_written(told: Told) -> None:
    assert told.write(created(b'{"data": {"id": 123,\r\n "total": 10.00, "name": "\\u00e4"}}')) == 201
    (message,) = told.messages()
    assert message == {
        "event": "budget.created",
        "timestamp": message["timestamp"],
        "data": {"id": 123, "total": 10.0, "name": "ä"},
        "metadata": {"source": "api", "version": "1.4.0", "delivery_id": message["metadata"]["delivery_id"]},
    }
    assert b'"total": 10.00, "name": "\\u00e4"' in told.receiver.requests[0].body
    (stored,) = told.gateway.fetch(
        "SELECT u.at = e.at AS same, u.route FROM webhook_events e JOIN usage_events u ON u.id::text = e.id"
        " WHERE e.account_id = $1",
        told.key.stored.account_id,
    )
    assert stored == {"same": True, "route": "budgets.write"}, "an event has the id of its request's usage event"


@pytest.mark.parametrize(
    ("answer", "data"),
    [
        (created(b'{"id": 1}'), {"id": 1}),
        (created(b'[{"id": 1}]'), [{"id": 1}]),
        (plain(b"", "204 No Content"), {}),
        (created(b'{"data": '), {"note": "answer_not_json"}),
        (created(b'{"data": "\xff"}'), {"note": "answer_not_json"}),
        (created(gzip.compress(b'{"data": {}}'), b"Content-Encoding: gzip\r\n"), {"note": "answer_encoded"}),
        (created(b'{"data": {"text": "%b"}}' % (b"x" * 70_000)), {"note": "answer_too_long"}),
        (
            raw(b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}"),
            {"note": "answer_not_json"},
        ),
        (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{", close=True), {"note": "answer_incomplete"}),
    ],
    ids=["no-data", "list", "empty", "cut-json", "not-utf8", "gzip", "too-long", "text", "broken-off"],
)
def test_what_cannot_be_copied_is_announced_without_it(told: Told, answer: Answer, data: Any) -> None:
    path = f"{BUDGETS}/42/items"
    with contextlib.suppress(CutShort):  # The answer that breaks off breaks off here too.
        told.write(answer, "PUT", path)
    (message,) = told.messages()
    assert message["event"] == "budget.updated"
    if data == {} or "note" in data:
        data = {"id": "42", "path": "/api/public/budgets/42/items", **data}
    assert message["data"] == data


def test_a_chunked_answer_is_copied_as_it_passes(told: Told) -> None:
    chunked = (
        b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json; charset=utf-8\r\n\r\n"
    )
    pieces = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (b'{"data":', b'{"id"', b":5}}"))
    assert told.write(raw(chunked + pieces + b"0\r\n\r\n"), path="/api/public/customers") == 201
    (message,) = told.messages()
    assert (message["event"], message["data"]) == ("customer.created", {"id": 5})


def test_a_deleted_thing_is_announced_by_its_id(told: Told) -> None:
    assert told.write(plain(b"", "204 No Content"), "DELETE", "/v1/api/public/products/9") == 204
    (message,) = told.messages()
    assert (message["event"], message["data"]) == ("product.deleted", {"id": "9", "path": "/api/public/products/9"})


def test_what_changed_nothing_is_not_announced(told: Told) -> None:
    assert told.write(plain(), "GET") == 200
    for status in ("404 Not Found", "303 See Other", "500 Internal Server Error"):
        told.write(plain(b'{"data": {}}', status))
    assert told.write(plain(), path="/api/public/product-variants") == 200, "a route that emits nothing"
    assert told.gateway.ask("POST", BUDGETS, told.gateway.readonly, body=b"{}").status == 403
    assert told.messages() == []


def test_an_event_that_a_backend_posts_twice_is_told_once(told: Told) -> None:
    for _ in range(2):
        answer = told.post({"id": "budget-5-approved"})
        assert (answer.status_code, answer.json()) == (202, {"id": "budget-5-approved", "status": "accepted"})
        assert answer.headers["Cache-Control"] == "no-store"
    told.messages(MARK)
    told.write(created(b"{}"))
    told.messages("budget.created")
    assert [message["event"] for message in told.receiver.messages].count(MARK) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"id": ""}, 422),
        ({"id": "a b"}, 422),
        ({"id": 1}, 422),
        ({"id": None}, 422),
        ({"accountId": "x" * 101}, 422),
        ({"event": "Budget"}, 422),
        ({"event": "budget.created\n"}, 422),
        ({"data": []}, 422),
        ({"data": {"x": "\0"}}, 422),
        ({"data": {"x": "y" * 65_536}}, 422),
        ({"data": {"x": "y" * 80_000}}, 413),
        ({"more": 1}, 422),
        ([], 422),
        ("text", 422),
    ],
    ids=str,
)
def test_a_bad_event_is_refused_with_the_reason(told: Told, body: Any, status: int) -> None:
    answer = told.post(body)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"] == {422: "validation_error", 413: "payload_too_large"}[status]
    assert answer.headers["X-Request-Id"] == answer.json()["requestId"]


def test_an_event_must_be_json_and_say_so(told: Told) -> None:
    url = f"{told.gateway.admin_url}/events"
    assert requests.post(url, data=b"{", headers={"Content-Type": "application/json"}, timeout=5).status_code == 400
    assert requests.post(url, data=b"{}", headers={"Content-Type": "text/plain"}, timeout=5).status_code == 415
    assert requests.get(url, timeout=5).status_code == 405
    assert told.gateway.ask("POST", "/events", body=b"{}").status == 404, "clients have no such path"


def test_what_fails_is_tried_again_under_its_id_until_it_is_a_dead_letter(told: Told) -> None:
    told.receiver.answer = plain(b"", "500 Internal Server Error")
    assert told.post({"id": "e5"}).status_code == 202
    assert wait_until(lambda: len(told.receiver.messages) == 3, ARRIVES_S)
    key_id = told.key.stored.id
    query = "SELECT id, status, attempts, history FROM webhook_deliveries WHERE key_id = $1"
    assert wait_until(lambda: told.gateway.fetch(query, key_id)[0]["status"] == "DEAD", ARRIVES_S)
    (delivery,) = told.gateway.fetch(query, key_id)
    assert {message["metadata"]["delivery_id"] for message in told.receiver.messages} == {delivery["id"]}
    assert len({request.body for request in told.receiver.requests}) == 1, "every attempt says the same"
    assert [attempt["statusCode"] for attempt in json.loads(delivery["history"])] == [500] * 3


def test_a_receiver_that_is_gone_is_left_alone(told: Told) -> None:
    told.receiver.answer = plain(b"", "410 Gone")
    told.post({"id": "e6"})
    query = "SELECT webhook_status FROM api_keys WHERE id = $1"
    key_id = told.key.stored.id
    assert wait_until(lambda: told.gateway.fetch(query, key_id)[0]["webhook_status"] == "DISABLED", ARRIVES_S)
    assert len(told.receiver.requests) == 1
