"""Whatever a client sends to a demo backend, the answer is a 4xx with a sentence, never a 5xx."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import TestServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.embedded.backends.application import application
from gateway.embedded.backends.bodies import BODY_MAX_BYTES
from tests.integration.backends import Asker, backend, error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CUSTOMERS = "/api/public/customers"
WRITES = {
    "budgets": [
        ("POST", "/api/public/budgets"),
        ("PUT", "/api/public/budgets/1"),
        ("POST", "/api/budgets/public"),
        ("POST", "/api/public/budget-approvals/config"),
        ("POST", "/api/public/budget-approvals/approvers"),
        ("POST", "/api/public/budget-approvals/submit"),
        ("POST", "/api/public/budget-approvals/4/process"),
    ],
    "customers": [("POST", CUSTOMERS), ("PUT", f"{CUSTOMERS}/1")],
    "products": [
        ("POST", "/api/public/products"),
        ("PUT", "/api/public/products/1"),
        ("POST", "/api/public/products/with-variants"),
        ("POST", "/api/public/product-variants"),
        ("PUT", "/api/public/product-variants/1"),
    ],
}
NOT_OBJECTS = {
    "text": b"hello",
    "cut": b'{"firstName": "a"',
    "tail": b'{"firstName": "a"} x',
    "single quotes": b"{'a': 1}",
    "nothing but space": b"  ",
    "not a number": b"NaN",
    "control": b'"a\x00b"',
    "not utf-8": b'{"firstName": "\xff\xfe"}',
    "half a surrogate": b'{"firstName": "\\ud800"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "gzip bytes": gzip.compress(b"{}"),
    "deep list": b"[" * 100_000 + b"]" * 100_000,
    "deep object": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "number too long": b"9" * 10_000,
}
NOT_VALID = {
    "list": b"[]",
    "null": b"null",
    "string": b'"{}"',
    "number": b"1",
    "nul in a name": b'{"a\\u0000b": 1}',
    "nul deep inside": b'{"attributes": {"a": [{"b": "\\u0000"}]}}',
    "infinite number": b'{"attributes": {"a": 1e999}}',
}
LISTS = [
    ("budgets", "/api/public/budgets"),
    ("budgets", "/api/public/budget-approvals"),
    ("budgets", "/api/public/budget-approvals/pending"),
    ("budgets", "/api/public/budget-approvals/history"),
    ("budgets", "/api/public/budget-approvals/can-approve"),
    ("customers", CUSTOMERS),
    ("products", "/api/public/products"),
    ("products", "/api/public/products/8/variants"),
]
WRONG_MEMBERS = [
    {"firstName": 1, "customerId": "1", "productCode": 1, "name": 1, "userId": "1", "budgetId": "1", "action": 1}
    | {"requiresBudgetApproval": "yes"},
    {"firstName": "", "customerId": 0, "productCode": "", "name": "", "userId": 0, "budgetId": -1, "action": "x"}
    | {"requiresBudgetApproval": 1},
    {"firstName": ["a"], "customerId": True, "productCode": {}, "name": [], "userId": True, "budgetId": True}
    | {"action": ["approve"], "requiresBudgetApproval": None},
    {"email": "nobody", "state": 3, "price": -1, "userId": 2**63, "budgetId": 2**63, "action": None}
    | {"approvalThreshold": -0.1, "customerId": 2**63},
    {"email": 1, "state": True, "price": 1e13, "userId": 1.5, "budgetId": 1.5, "action": "APPROVE"}
    | {"approvalThreshold": "1", "items": {}},
    {"lastName": {}, "status": "DONE", "stock": 1.5, "userId": None, "budgetId": None, "action": {}}
    | {"isActive": "true", "items": [{"quantity": 0, "unitPrice": 1}]},
    {"dni": "1", "issueDate": "yesterday", "isActive": 0, "userId": [], "budgetId": [], "action": 0}
    | {"ownerCanApprove": 0, "items": [None]},
]


@pytest.fixture(params=sorted(WRITES))
async def backend_and_writes(
    request: pytest.FixtureRequest, postgres_dsn: str
) -> AsyncIterator[tuple[Asker, list[tuple[str, str]]]]:
    async with backend(request.param, postgres_dsn) as asker:
        yield asker, WRITES[request.param]


@pytest.fixture
async def customers(postgres_dsn: str) -> AsyncIterator[Asker]:
    async with backend("customers", postgres_dsn) as asker:
        yield asker


async def test_body_that_is_not_json_is_a_bad_request_everywhere(
    backend_and_writes: tuple[Asker, list[tuple[str, str]]],
) -> None:
    asker, writes = backend_and_writes
    for method, path in writes:
        for name, raw in NOT_OBJECTS.items():
            assert error_of(await asker.ask(method, path, raw=raw)) == (400, "bad_request"), (path, name)


async def test_json_that_no_resource_can_be_is_invalid_everywhere(
    backend_and_writes: tuple[Asker, list[tuple[str, str]]],
) -> None:
    asker, writes = backend_and_writes
    for method, path in writes:
        for name, raw in NOT_VALID.items():
            assert error_of(await asker.ask(method, path, raw=raw)) == (422, "validation_error"), (path, name)


async def test_member_of_the_wrong_type_is_named_everywhere(
    backend_and_writes: tuple[Asker, list[tuple[str, str]]],
) -> None:
    asker, writes = backend_and_writes
    for method, path in writes:
        for body in WRONG_MEMBERS:
            answer = await asker.ask(method, path, json=body)
            assert error_of(answer) == (422, "validation_error"), (path, body)
            assert answer.body["message"].startswith(answer.body["errors"][0]["field"] + ": ")


async def test_compressed_body_is_refused_and_not_inflated(customers: Asker) -> None:
    for encoding in ("gzip", "deflate", "br", "x-unheard-of", "gzip, identity"):
        answer = await customers.ask(
            "POST", CUSTOMERS, raw=gzip.compress(b"{}"), headers={"Content-Encoding": encoding}
        )
        assert error_of(answer) == (415, "unsupported_media_type")


@pytest.mark.parametrize("field", ["firstName", "email"])
async def test_text_of_almost_a_mebibyte_is_kept_and_more_is_refused(customers: Asker, field: str) -> None:
    start = "a@" if field == "email" else ""
    body = {"firstName": "A", "lastName": "B", field: start}
    room = BODY_MAX_BYTES - len(json.dumps(body).encode())
    fits = json.dumps(body | {field: start + "x" * room}).encode()
    created = await customers.ask("POST", CUSTOMERS, raw=fits)
    assert (created.status, len(fits)) == (201, BODY_MAX_BYTES)
    assert (await customers.get(f"{CUSTOMERS}/{created.data['id']}")).data[field] == start + "x" * room
    assert (await customers.get(f"{CUSTOMERS}?search=xxx")).status == 200
    assert error_of(await customers.ask("POST", CUSTOMERS, raw=fits + b" ")) == (413, "payload_too_large")


async def test_numbers_at_the_edge_survive_the_round_trip(postgres_dsn: str) -> None:
    async with backend("products", postgres_dsn) as products:
        attributes = {"big": 10**4000, "tiny": 5e-324, "large": 1.7976931348623157e308, "negative": -0.0}
        body = {"productId": 1, "name": "Edge", "price": 0.1, "attributes": attributes}
        created = await products.ask("POST", "/api/public/product-variants", json=body)
        assert created.status == 201
        assert created.data["attributes"]["big"] == 10**4000
        assert created.data["price"] == 0.1


async def test_body_that_breaks_off_or_never_comes_is_refused(postgres_dsn: str) -> None:
    server = TestServer(application("customers", postgres_dsn, body_timeout_s=0.2))
    await server.start_server(auto_decompress=False, access_log=None)
    head = f"POST {CUSTOMERS} HTTP/1.1\r\nHost: a\r\n"
    async with server:
        for rest, status in (
            ("Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n", b"400"),
            ("Content-Length: 10\r\n\r\n{", b"408"),
        ):
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write((head + rest).encode())
            async with asyncio.timeout(5):
                assert (await reader.readline()).split()[1] == status
            writer.close()
            await writer.wait_closed()


texts = st.text(max_size=20) | st.sampled_from(["", "\0", "1e999", "0", "-1", "%", "'; --", "9" * 30, "٣"])
values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
members = st.sampled_from(
    [
        "customerId",
        "title",
        "items",
        "state",
        "status",
        "total",
        "iva",
        "issueDate",
        "firstName",
        "lastName",
        "email",
        "dni",
        "productCode",
        "price",
        "stock",
        "name",
        "attributes",
        "variants",
        "productId",
        "userId",
        "notes",
        "action",
        "budgetId",
        "approvalThreshold",
        "isActive",
        "type",
    ]
)
parameters = st.sampled_from(
    [
        "page",
        "limit",
        "search",
        "status",
        "customerId",
        "category",
        "isActive",
        "type",
        "startDate",
        "endDate",
        "userId",
        "budgetId",
    ]
)


@pytest.fixture
async def backends(postgres_dsn: str) -> AsyncIterator[dict[str, Asker]]:
    async with contextlib.AsyncExitStack() as stack:
        yield {name: await stack.enter_async_context(backend(name, postgres_dsn)) for name in WRITES}


@pytest.mark.timeout(60)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    target=st.sampled_from([(name, *write) for name, writes in WRITES.items() for write in writes]),
    body=st.dictionaries(members, values, max_size=6),
)
async def test_no_body_is_the_servers_fault(
    backends: dict[str, Asker], target: tuple[str, str, str], body: dict[str, Any]
) -> None:
    name, method, path = target
    answer = await backends[name].ask(method, path, raw=json.dumps(body).encode())
    assert answer.status < 500, answer


@pytest.mark.timeout(60)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(target=st.sampled_from(LISTS), query=st.dictionaries(parameters, texts, max_size=4))
async def test_no_query_is_the_servers_fault(
    backends: dict[str, Asker], target: tuple[str, str], query: dict[str, str]
) -> None:
    name, path = target
    answer = await backends[name].get(f"{path}?{urlencode(query)}")
    assert answer.status in {200, 422}, answer
