"""One request through the whole gateway, as the contract has it: who is served, who is refused, and in which words."""

from __future__ import annotations

import hashlib
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.credentials import issue
from tests.backends import plain
from tests.demos import wait_until
from tests.wire import fresh_address

if TYPE_CHECKING:
    from tests.gateways import Gateway
    from tests.wire import Answer

BUDGETS, CUSTOMERS, PRODUCTS = "/api/public/budgets", "/api/public/customers", "/api/public/products"
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def envelope(answer: Answer) -> dict[str, Any]:
    """The body of an error, without what differs each time; that is checked here."""
    document = answer.json
    assert ISO.fullmatch(document.pop("timestamp"))
    assert re.fullmatch(r"req_[0-9a-f]{16}", document["requestId"])
    assert document.pop("requestId") == answer.one("x-request-id")
    assert answer.one("cache-control") == "no-store"
    assert answer.one("content-type") == "application/json; charset=utf-8"
    return document


def unknown_key() -> str:
    return issue("bk_live_", int.from_bytes(hashlib.sha256(str(time.time_ns()).encode()).digest()) % 62**26)


class TestCredentials:
    def test_none(self, gateway: Gateway) -> None:
        answer = gateway.ask("GET", BUDGETS)
        assert answer.status == 401
        assert answer.one("www-authenticate") == 'Bearer realm="api"'
        assert envelope(answer) == {
            "error": "unauthorized",
            "message": "Missing Authorization header",
            "details": {"expected": "Authorization: Bearer bk_live_..."},
        }

    @pytest.mark.parametrize("junk", ["junk", "bk_live_short", "sk_live_0123456789abcdef0123456789abcdef"])
    def test_what_has_not_our_format(self, gateway: Gateway, junk: str) -> None:
        answer = gateway.ask("GET", BUDGETS, junk)
        assert answer.status == 401
        assert 'error="invalid_token"' in answer.one("www-authenticate")
        assert envelope(answer) == {
            "error": "invalid_api_key",
            "message": "Invalid API key format or key not found",
        }

    @pytest.mark.parametrize("checksum", [True, False])
    def test_an_unknown_key(self, gateway: Gateway, checksum: bool) -> None:
        key = unknown_key() if checksum else "bk_live_0123456789abcdef0123456789abcdef"
        answer = gateway.ask("GET", BUDGETS, key)
        assert answer.status == 401
        assert envelope(answer) == {
            "error": "invalid_api_key",
            "message": "Invalid API key format or key not found",
            "details": {"keyPrefix": key[:12]},
        }

    def test_an_expired_key(self, gateway: Gateway) -> None:
        expired = datetime.now(UTC).replace(microsecond=123000) - timedelta(hours=1)
        key = gateway.make_key(expires_at=expired)
        moment = f"{expired:%Y-%m-%dT%H:%M:%S}.123Z"
        answer = gateway.ask("GET", BUDGETS, key)
        assert answer.status == 401
        assert envelope(answer) == {
            "error": "api_key_expired",
            "message": f"API key expired at {moment}",
            "details": {"expiredAt": moment},
        }

    def test_a_key_that_expires_while_it_is_known(self, gateway: Gateway) -> None:
        key = gateway.make_key(expires_at=datetime.now(UTC) + timedelta(seconds=1))
        assert gateway.ask("GET", BUDGETS, key).status == 200
        assert wait_until(lambda: gateway.ask("GET", BUDGETS, key).code == "401 api_key_expired", 2)

    def test_a_revoked_key(self, gateway: Gateway) -> None:
        key = gateway.make_key()
        gateway.execute(f"UPDATE api_keys SET status = 'REVOKED' WHERE id = '{key_id(gateway, key)}'")
        answer = gateway.ask("GET", BUDGETS, key)
        assert answer.status == 401
        assert envelope(answer) == {
            "error": "api_key_revoked",
            "message": "API key has been revoked",
            "details": {"keyPrefix": key[:12]},
        }

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ("status = 'SUSPENDED'", "403 api_key_suspended"),
            ("status = 'REVOKED'", "401 api_key_revoked"),
            ("deleted_at = now()", "401 api_key_revoked"),
            ("scopes = '{READ_PRODUCTS}'", "403 insufficient_scope"),
            ("allowed_ips = '{10.0.0.0/8}'", "403 ip_not_allowed"),
            ("expires_at = now()", "401 api_key_expired"),
        ],
    )
    def test_a_change_in_postgres_is_in_force_within_a_tenth_of_a_second(
        self, gateway: Gateway, change: str, expected: str
    ) -> None:
        key = gateway.make_key()
        with gateway.connect() as wire:
            assert wire.ask("GET", BUDGETS, key).status == 200
            gateway.execute(f"UPDATE api_keys SET {change} WHERE id = '{key_id(gateway, key)}'")
            changed = time.monotonic()
            while (code := wire.ask("GET", BUDGETS, key).code) == "200" and time.monotonic() < changed + 2:
                pass
            assert code == expected
            assert time.monotonic() - changed < 0.1

    def test_a_new_key_works_although_it_was_unknown_a_moment_ago(self, gateway: Gateway) -> None:
        key = gateway.make_key()
        digest = hashlib.sha256(key.encode()).hexdigest()
        (row,) = gateway.fetch("DELETE FROM key_secrets WHERE digest = decode($1, 'hex') RETURNING key_id", digest)
        assert gateway.ask("GET", BUDGETS, key).code == "401 invalid_api_key"
        gateway.execute(
            f"INSERT INTO key_secrets VALUES (decode('{digest}', 'hex'), '{row['key_id']}', '{key[:12]}', NULL)"
        )
        assert wait_until(lambda: gateway.ask("GET", BUDGETS, key).status == 200, 1)


def key_id(gateway: Gateway, key: str) -> str:
    digest = hashlib.sha256(key.encode()).hexdigest()
    (row,) = gateway.fetch("SELECT key_id FROM key_secrets WHERE digest = decode($1, 'hex')", digest)
    return str(row["key_id"])


READS = {"READ_BUDGETS": (BUDGETS, "/api/public/budget-approvals"), "READ_CUSTOMERS": (CUSTOMERS,)}
READS["READ_PRODUCTS"] = (PRODUCTS, "/api/public/product-variants")


@pytest.mark.parametrize("noun", ["BUDGETS", "CUSTOMERS", "PRODUCTS"])
@pytest.mark.parametrize("verb", ["READ", "WRITE"])
def test_a_scope_opens_its_own_methods_and_paths_and_no_others(gateway: Gateway, noun: str, verb: str) -> None:
    key = gateway.make_key(f"{verb}_{noun}")
    with gateway.connect() as wire:
        for scope, paths in READS.items():
            for path in paths:
                for method in ("GET", "HEAD", "POST", "PUT", "DELETE"):
                    needs = scope if method in ("GET", "HEAD") else scope.replace("READ", "WRITE")
                    answer = wire.ask(method, f"{path}/1", key)
                    assert answer.status == (200 if needs == f"{verb}_{noun}" else 403), (method, path)


def test_a_missing_scope_is_told_with_those_that_are_there(gateway: Gateway) -> None:
    answer = gateway.ask("POST", BUDGETS, gateway.readonly, body=b"{}")
    assert answer.status == 403
    assert envelope(answer) == {
        "error": "insufficient_scope",
        "message": "API key does not have required scope: WRITE_BUDGETS",
        "details": {"requiredScope": "WRITE_BUDGETS", "grantedScopes": ["READ_BUDGETS"]},
    }
    assert gateway.ask("GET", CUSTOMERS, gateway.readonly).code == "403 insufficient_scope"
    assert not gateway.backend.requests


@pytest.mark.parametrize(
    ("allowed", "source", "status"),
    [
        (["127.9.0.0/16"], "127.9.1.2", 200),
        (["127.9.0.0/16"], "127.8.1.2", 403),
        (["127.9.1.2"], "127.9.1.2", 200),
        (["127.9.1.2"], "127.9.1.3", 403),
        (["::1", "127.9.1.2"], "127.9.1.2", 200),
        (["::ffff:127.9.1.2"], "127.9.1.2", 200),
        (["0.0.0.0/0"], "127.9.1.2", 200),
        (["::/0"], "127.9.1.2", 403),
        ([], "127.9.1.2", 200),
        (None, "127.9.1.2", 200),
    ],
)
def test_a_key_works_from_its_allowed_addresses(
    gateway: Gateway, allowed: list[str] | None, source: str, status: int
) -> None:
    answer = gateway.ask("GET", BUDGETS, gateway.make_key(allowed_ips=allowed), source=source)
    assert answer.status == status
    if status == 403:
        assert envelope(answer) == {
            "error": "ip_not_allowed",
            "message": f"API key is not allowed from address {source}",
            "details": {"clientIp": source},
        }


def test_the_address_is_checked_before_the_scope(gateway: Gateway) -> None:
    key = gateway.make_key("READ_BUDGETS", allowed_ips=["10.0.0.1"])
    assert gateway.ask("GET", CUSTOMERS, key).code == "403 ip_not_allowed"


@pytest.mark.parametrize("key", [None, "bk_live_0123456789abcdef0123456789abcdef"])
def test_paths_and_methods_are_the_same_for_everyone(gateway: Gateway, key: str | None) -> None:
    missing = gateway.ask("GET", "/api/public/nothing", key)
    assert missing.status == 404
    assert envelope(missing)["error"] == "not_found"
    wrong = gateway.ask("PATCH", BUDGETS, key)
    assert (wrong.code, wrong.one("allow")) == ("405 method_not_allowed", "DELETE, GET, HEAD, POST, PUT")
    token = gateway.ask("DELETE", "/api/public/budgets/token/abc/confirm", key)
    assert token.status in (401, 405)
    assert not gateway.backend.requests


def test_every_answer_names_the_request_and_the_backend_knows_it(gateway: Gateway) -> None:
    ids = set()
    for path in (BUDGETS, f"/v1{BUDGETS}", "/nowhere", f"{BUDGETS}/..", "/api/public/gone"):
        answer = gateway.ask("GET", path, gateway.everything, ["X-Request-Id: mine"])
        ids.add(answer.one("x-request-id"))
        if answer.status == 200:
            assert gateway.backend.last.one("x-request-id") == answer.one("x-request-id")
    assert len(ids) == 5
    assert all(re.fullmatch(r"req_[0-9a-f]{16}", name) for name in ids)


def test_a_trace_is_continued(gateway: Gateway) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    gateway.ask("GET", BUDGETS, gateway.everything, [f"traceparent: 00-{trace}-00f067aa0ba902b7-01"])
    assert re.fullmatch(rf"00-{trace}-[0-9a-f]{{16}}-01", gateway.backend.last.one("traceparent"))
    for bad in (f"00-{'0' * 32}-00f067aa0ba902b7-01", "junk", f"ff-{trace}-00f067aa0ba902b7-01"):
        gateway.ask("GET", BUDGETS, gateway.everything, [f"traceparent: {bad}"])
        assert trace not in gateway.backend.last.one("traceparent")


def test_an_answer_passes_untouched(gateway: Gateway) -> None:
    fields = b"ETag: x\r\nset-cookie: a=1\r\nSet-Cookie: b=2\r\nServer: mine\r\nVary: *\r\n"
    gateway.backend.answer = plain(b"body", "207 Whatever", fields)
    answer = gateway.ask("GET", BUDGETS, gateway.everything)
    assert answer.head.startswith(b"HTTP/1.1 207 Whatever\r\n")
    assert fields in answer.head
    assert answer.body == b"body"
    assert not answer.all("via")


class TestPublicRoutes:
    PATH = "/api/public/budgets/token/abc"

    def test_no_key_is_needed_and_none_is_known(self, gateway: Gateway) -> None:
        assert gateway.ask("GET", f"/v1{self.PATH}").status == 200
        assert gateway.ask("HEAD", self.PATH).status == 200
        assert gateway.ask("POST", f"{self.PATH}/confirm", body=b"{}").status == 200
        assert gateway.ask("POST", f"{self.PATH}/reject", body=b"{}").status == 200
        assert gateway.ask("GET", "/api/public/budgets/public/17").status == 200
        for request in gateway.backend.requests:
            assert not [name for name, _ in request.fields if name.lower().startswith("x-gateway")]

    @pytest.mark.parametrize("suspended", [True, False])
    def test_a_key_of_ours_is_neither_looked_at_nor_passed_on(self, gateway: Gateway, suspended: bool) -> None:
        key = gateway.everything if not suspended else unknown_key()
        assert gateway.ask("GET", self.PATH, key).status == 200
        assert key.encode() not in gateway.backend.raw

    def test_an_address_gets_sixty_a_minute(self, gateway: Gateway) -> None:
        source = fresh_address()
        with gateway.connect(source) as wire:
            codes = [wire.ask("GET", self.PATH).code for _ in range(63)]
            refused = wire.ask("GET", self.PATH)
        # One second gives one back.
        assert 60 <= codes.count("200") <= 61
        assert codes[-1] == "429 rate_limit_exceeded" or codes.count("200") == 61
        assert refused.one("x-ratelimit-limit") == "60"
        assert refused.one("x-ratelimit-window") == "60"
        assert gateway.ask("GET", self.PATH).status == 200
