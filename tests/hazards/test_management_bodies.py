"""Hostile bodies for the management of keys: each is refused with a sentence that helps, and none breaks anything."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.owners import Owner

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.gateways import Gateway
    from tests.wire import Answer

JSON = "Content-Type: application/json"
MAX_BYTES = 65_536


@dataclass(frozen=True)
class Case:
    """A body, what is to be answered, and the *fields* that a 422 names."""

    name: str
    body: bytes
    status: int
    fields: tuple[str, ...] = ()
    headers: tuple[str, ...] = (JSON,)


def naming(name: str, value: Any, *fields: str) -> Case:
    """A body that is right but for one field."""
    body = {"name": "A key", "scopes": ["READ_BUDGETS"], name: value}
    return Case(f"{name} {str(value)[:30]!r}", json.dumps(body).encode(), 422, fields or (name,))


def sending(name: str, text: bytes, status: int, *fields: str) -> Case:
    """A body that is right but for one member, written as it is."""
    return Case(f"{name} {text[:30]!r}", b'{"scopes":["READ_BUDGETS"],"name":"A",%s}' % text, status, fields)


def each(name: str, values: Iterable[Any], inside: str = "") -> list[Case]:
    """Bodies that are right but for one field, with each of *values*, in a list where the problem is *inside*."""
    return [naming(name, [value] if inside else value, name + inside) for value in values]


NOT_JSON = [
    Case("empty", b"", 400),
    Case("blanks", b" \n\t", 400),
    Case("half an object", b'{"name":"A"', 400),
    Case("two values", b'{"name":"A"}{"name":"B"}', 400),
    Case("single quotes", b"{'name':'A'}", 400),
    Case("a comma too many", b'{"name":"A",}', 400),
    Case("a comment", b'{"name":"A"/* */}', 400),
    Case("a form", b"name=A&scopes=READ_BUDGETS", 400),
    Case("byte order mark", b'\xef\xbb\xbf{"name":"A"}', 400),
    Case("UTF-16", '{"name":"A"}'.encode("utf-16"), 400),
    Case("invalid UTF-8", b'{"name":"\xff\xfe"}', 400),
    Case("overlong UTF-8", b'{"name":"\xc0\x80"}', 400),
    Case("a surrogate in UTF-8", b'{"name":"\xed\xa0\x80"}', 400),
    Case("gzip", gzip.compress(b'{"name":"A"}'), 400),
    Case("gzip that says so", gzip.compress(b'{"name":"A"}'), 400, headers=(JSON, "Content-Encoding: gzip")),
    Case("a control character in a string", b'{"name":"a\x01b"}', 400),
    Case("deep arrays", b"[" * 30_000 + b"]" * 30_000, 400),
    Case("deep arrays without an end", b"[" * 60_000, 400),
    Case("deep objects", b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
    sending("deep in a field", b'"description":' + b"[" * 100 + b"]" * 100, 400),
    sending("a member twice", b'"name":"B"', 400),
    sending("a member twice, escaped", rb'"n\u0061me":"B"', 400),
    sending("NaN", b'"rateLimitPerHour":NaN', 400),
    sending("Infinity", b'"rateLimitPerHour":-Infinity', 400),
    sending("too large a float", b'"rateLimitPerHour":1e999', 400),
    sending("a number with 5,000 digits", b'"rateLimitPerHour":' + b"9" * 5000, 400),
    sending("a leading zero", b'"rateLimitPerHour":0100', 400),
    sending("hexadecimal", b'"rateLimitPerHour":0x10', 400),
]
NO_OBJECT = [
    Case("an array", b"[]", 422, ("",)),
    Case("an array of objects", b'[{"name":"A"}]', 422, ("",)),
    Case("null", b"null", 422, ("",)),
    Case("a string", b'"name"', 422, ("",)),
    Case("a number", b"1", 422, ("",)),
    Case("true", b"true", 422, ("",)),
]
OTHER_TYPES = [
    Case(f"as {header}", b'{"name":"A"}', 415, headers=(header,) if header else ())
    for header in (
        *("", "Content-Type: text/plain", "Content-Type: application/xml", "Content-Type: application/jsonx"),
        *("Content-Type: application/x-www-form-urlencoded", "Content-Type: multipart/form-data; boundary=a"),
        *("Content-Type: application/json; charset=utf-16", "Content-Type: application/json, text/plain"),
    )
]
NO_NETWORKS: tuple[Any, ...] = (
    *("", " ", "x", "localhost", "10.0.0.256", "10.0.0", "010.0.0.1", "0x0a.0.0.1", "10.0.0.1 ", "\u0661.0.0.1"),
    *("10.0.0.1/33", "10.0.0.1/-1", "10.0.0.1/", "10.0.0.1/24", "10.0.0.0/255.0.0.0"),
    *("fe80::1%eth0", "::1/129", "2001:db8::g", "2001:db8::1/32"),
)
NO_EXPIRIES: tuple[Any, ...] = (
    *("2001-01-01T00:00:00Z", "2034-12-31", "2034-12-31T23:59:59", "tomorrow", "", 2_000_000_000, True, []),
    *("2034-02-30T00:00:00Z", "2034-12-31T23:59:60Z", "+10000-01-01T00:00:00Z", "0000-01-01T00:00:00Z"),
    *("9999-12-31T23:59:59-23:59", "2034-12-31T23:59:59+99:99", "2034-12-31T23:59:59Z" + "0" * 100),
)
NO_WEBHOOKS: tuple[Any, ...] = (
    *("", "x", "http://example.com/", "ftp://example.com/", "javascript:alert(1)", "https://", "https:///x", 1),
    *("https://localhost/", "https://127.0.0.1/", "https://2130706433/", "https://0x7f.1/", "https://[::1]/"),
    *("https://10.0.0.1/", "https://169.254.169.254/", "https://[::ffff:10.0.0.1]/", "https://user:pw@a.example/"),
    *("https://a.example:99999/", "https://a b.example/", "https://a.example/\r\nX: y", "//a.example/"),
)
BROKEN_FIELDS = [
    *each("name", ("", "a" * 101, None, 1, ["a"], {"a": 1}, "a\0b")),
    sending("half of a pair", rb'"description":"\ud800"', 422, "description"),
    sending("the other half", rb'"description":"\udc00\ud83d"', 422, "description"),
    sending("a nameless member", rb'"\u0000":1', 422, ""),
    *each("scopes", ([], "READ_BUDGETS", None, {}, ["READ_BUDGETS"] * 101)),
    naming("scopes", ["NO_SUCH_SCOPE"], "scopes.0"),
    naming("scopes", ["READ_BUDGETS", "read_budgets", 1, None], "scopes.1", "scopes.2", "scopes.3"),
    naming("scopes", ["READ_BUDGETS; DROP TABLE api_keys"], "scopes.0"),
    *each("description", (1, [], {"a": None})),
    *each("rateLimitPerHour", (0, -1, 1_000_000_001, 1.5, "1000", True, None, [])),
    sending("a number with 20 digits", b'"rateLimitPerHour":99999999999999999999', 422, "rateLimitPerHour"),
    sending("a float that is whole", b'"rateLimitPerHour":1e3', 422, "rateLimitPerHour"),
    naming("allowedIps", "10.0.0.1"),
    naming("allowedIps", ["10.0.0.1", None, 1], "allowedIps.1", "allowedIps.2"),
    *each("allowedIps", NO_NETWORKS, inside=".0"),
    *each("expiresAt", NO_EXPIRIES),
    *each("webhookUrl", NO_WEBHOOKS),
    *each("webhookSecret", ("short", "whsec_", "whsec_!!!!", "a" * 129, 1, [])),
    *(naming(name, "x") for name in ("id", "key", "keyPrefix", "createdAt", "lastUsedAt", "accountId", "__proto__")),
    naming("rate_limit_per_hour", 5),
]
CASES = [*NOT_JSON, *NO_OBJECT, *OTHER_TYPES, *BROKEN_FIELDS]


@pytest.fixture(scope="module")
def made(gateway_server: Gateway) -> tuple[Owner, dict[str, Any]]:
    """An owner with a key."""
    owner = Owner(gateway_server)
    return owner, owner.create()


def ask(gateway: Gateway, owner: Owner, method: str, path: str, headers: Sequence[str], body: bytes | None) -> Answer:
    with gateway.connect() as client:
        return client.ask(method, path, owner.token, headers, body)


def refused(answer: Answer, case: Case) -> None:
    """Check that *answer* refuses *case* as it should, with a sentence and without repeating what was sent."""
    assert answer.status == case.status, answer.body
    told = answer.json
    assert len(told["message"]) > 10
    assert told["requestId"] == answer.one("X-Request-Id")
    if case.status == 422:
        assert tuple(sorted(error["field"] for error in told["details"]["errors"])) == tuple(sorted(case.fields))
        assert all(error["message"] for error in told["details"]["errors"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_hostile_body_is_refused_with_a_sentence_and_changes_nothing(
    gateway: Gateway, made: tuple[Owner, dict[str, Any]], case: Case
) -> None:
    owner, key = made
    before = owner.told(200, "GET", f"/api-keys/{key['id']}")
    for method, path in (("POST", "/api-keys"), ("PUT", f"/api-keys/{key['id']}")):
        refused(ask(gateway, owner, method, path, case.headers, case.body), case)
    assert owner.told(200, "GET", f"/api-keys/{key['id']}") == before
    assert owner.told(200, "GET", "/api-keys")["pagination"]["total"] == 1


@pytest.mark.parametrize(
    "case",
    [
        *NOT_JSON[1:15],
        *NO_OBJECT,
        *OTHER_TYPES,
        *(
            Case(f"graceSeconds {text!r}", b'{"graceSeconds":%s}' % text, 422, ("graceSeconds",))
            for text in (b"-1", b"1.5", b'"60"', b"null", b"true", b"[]", b"2592001", b"99999999999999999999")
        ),
        Case("graceSeconds too long", b'{"graceSeconds":' + b"9" * 400 + b"}", 400),
        Case("unknown", b'{"graceSeconds":1,"grace":1}', 422, ("grace",)),
    ],
    ids=lambda case: case.name,
)
def test_a_hostile_rotation_is_refused_and_the_secret_stays(
    gateway: Gateway, made: tuple[Owner, dict[str, Any]], case: Case
) -> None:
    owner, key = made
    refused(ask(gateway, owner, "POST", f"/api-keys/{key['id']}/rotate", case.headers, case.body), case)
    assert owner.told(200, "GET", f"/api-keys/{key['id']}")["keyPrefix"] == key["keyPrefix"]


def test_the_largest_body_is_read_and_one_byte_more_is_413(
    gateway: Gateway, made: tuple[Owner, dict[str, Any]]
) -> None:
    owner, key = made
    path = f"/api-keys/{key['id']}"
    frame = b'{"description":"%s"}'
    for size, status in ((MAX_BYTES, 200), (MAX_BYTES + 1, 413), (MAX_BYTES * 20, 413)):
        body = frame % (b"a" * (size - len(frame) + 2))
        assert ask(gateway, owner, "PUT", path, [JSON], body).status == status, size
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (MAX_BYTES + 1, b"a" * (MAX_BYTES + 1))
    with gateway.connect() as client:
        head = f"PUT {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {owner.token}\r\n{JSON}\r\n"
        client.send(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
        assert client.answer().status == 413


@pytest.mark.parametrize("rest", ["", "/audit", "/rotate"])
@pytest.mark.parametrize(
    "key_id",
    [
        *("%00", "%ff", "%C3%A9", "%F0%9F%94%91", "..", "%2e%2e", "%2F", "a%2Fb", "%0d%0aX:y", "'%3B--", "*", "{id}"),
        *("null", "undefined", "-1", "a" * 4000, "%25", "~", "%E2%80%AE"),
    ],
)
def test_an_id_that_no_key_has_is_4xx_for_every_method(
    gateway: Gateway, made: tuple[Owner, dict[str, Any]], key_id: str, rest: str
) -> None:
    owner, _ = made
    for method, body in (("GET", None), ("PUT", b'{"name":"A"}'), ("DELETE", None), ("POST", b"{}")):
        answer = ask(gateway, owner, method, f"/api-keys/{key_id}{rest}", [JSON], body)
        assert 400 <= answer.status < 500, (method, answer.body)
        assert answer.json["message"]


@pytest.mark.parametrize(
    "query",
    [
        *(
            "page=0",
            "page=-1",
            "page=1e3",
            "page=",
            "page=%00",
            "page=\u0661",
            "page=99999999999999999999",
            "page=1&page=2",
        ),
        *("limit=0", "limit=NaN", "limit=1&limit=1", "status=active", "status=", "status=ACTIVE&status=REVOKED"),
        *("search=%00", "search=" + "a" * 101, "accountId=" + "a" * 101, "accountId=1&accountId=2"),
        "&".join(f"a{number}=1" for number in range(51)),
    ],
)
def test_a_hostile_query_is_refused(gateway: Gateway, made: tuple[Owner, dict[str, Any]], query: str) -> None:
    owner, _ = made
    query = query.encode().decode("latin-1")
    answer = ask(gateway, owner, "GET", f"/api-keys?{query}", [], None)
    assert answer.status in {400, 422}, answer.body
    assert answer.json["message"]


@pytest.mark.parametrize("query", ["search=%ff", "search=%ED%A0%80", "search=%25_%27%22;--", "search=%F0%9F%94%91"])
def test_a_search_for_anything_at_all_finds_nothing_and_breaks_nothing(
    gateway: Gateway, made: tuple[Owner, dict[str, Any]], query: str
) -> None:
    owner, _ = made
    answer = ask(gateway, owner, "GET", f"/api-keys?{query}", [], None)
    assert (answer.status, answer.json["data"]) == (200, [])


@pytest.mark.parametrize("value", [b"", b"\xff", b"\xc3\xa9", b"a\x01b", b"a" * 256])
def test_a_hostile_idempotency_key_is_4xx(gateway: Gateway, made: tuple[Owner, dict[str, Any]], value: bytes) -> None:
    owner, _ = made
    field = "Idempotency-Key: " + value.decode("latin-1")
    body = b'{"name":"A","scopes":["READ_BUDGETS"]}'
    assert ask(gateway, owner, "POST", "/api-keys", [JSON, field], body).status in {400, 422}
    twice = ["Idempotency-Key: a", "Idempotency-Key: a"]
    assert ask(gateway, owner, "POST", "/api-keys", [JSON, *twice], body).status in {400, 422}
