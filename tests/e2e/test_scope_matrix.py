"""Who may do what where: every scope, method and resource, as the API Keys page and the contract have it.

The table is written by hand from those two and knows nothing of gateway.yaml. Every cell is asked with and without
/v1, and what may not pass must not reach the backend either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.gateways import EVERY_SCOPE
from tests.wire import fresh_address

if TYPE_CHECKING:
    from tests.gateways import Gateway
    from tests.wire import Answer

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
PREFIXES = ("", "/v1")
RATE_FIELDS = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "x-ratelimit-window")
ANYBODY = "no key needed"


class Wants(NamedTuple):
    """What the methods of a resource want: a scope, ANYBODY, or None where the method is not allowed."""

    get: str | None = None
    post: str | None = None
    put: str | None = None
    delete: str | None = None

    def of(self, method: str) -> str | None:
        wanted = {"GET": self.get, "HEAD": self.get, "POST": self.post, "PUT": self.put, "DELETE": self.delete}
        return wanted.get(method)

    @property
    def allow(self) -> str:
        return ", ".join(sorted(method for method in METHODS if self.of(method)))


def nouns(noun: str) -> Wants:
    return Wants(f"READ_{noun}", f"WRITE_{noun}", f"WRITE_{noun}", f"WRITE_{noun}")


BUDGETS, CUSTOMERS, PRODUCTS, UNKNOWN = nouns("BUDGETS"), nouns("CUSTOMERS"), nouns("PRODUCTS"), Wants()
RESOURCES: dict[str, Wants] = {
    "/api/public/budgets": BUDGETS,
    "/api/public/budgets/17": BUDGETS,
    "/api/public/budgets/17/lines/3?page=1": BUDGETS,
    "/api/public/budget-approvals": BUDGETS,
    "/api/public/budget-approvals/17/process": BUDGETS,
    "/api/public/customers": CUSTOMERS,
    "/api/public/customers/17": CUSTOMERS,
    "/api/public/products": PRODUCTS,
    "/api/public/products/with-variants": PRODUCTS,
    "/api/public/products/17/variants": PRODUCTS,
    "/api/public/product-variants": PRODUCTS,
    "/api/public/product-variants/17": PRODUCTS,
    "/api/budgets/public": Wants(post="WRITE_BUDGETS"),
    "/api/public/webhooks/test": Wants(post="WEBHOOKS"),
    "/api/public/budgets/public/17": BUDGETS._replace(get=ANYBODY),
    "/api/public/budgets/token/abc": BUDGETS._replace(get=ANYBODY),
    "/api/public/budgets/token/abc/confirm": BUDGETS._replace(post=ANYBODY),
    "/api/public/budgets/token/abc/reject": BUDGETS._replace(post=ANYBODY),
    "/api/public": UNKNOWN,
    "/api/public/budgetsx": UNKNOWN,
    "/api/public/customer": UNKNOWN,
    "/api/public/webhooks": UNKNOWN,
    "/api/public/webhooks/test/17": UNKNOWN,
    "/api/budgets": UNKNOWN,
    "/api/budgets/public/17": UNKNOWN,
    "/budgets": UNKNOWN,
}
JUNK = "bk_live_0123456789abcdef0123456789abcdef"
CREDENTIALS: dict[str, tuple[str, ...]] = {scope: (scope,) for scope in EVERY_SCOPE} | {
    "every scope": EVERY_SCOPE,
    "all but WRITE_BUDGETS": tuple(scope for scope in EVERY_SCOPE if scope != "WRITE_BUDGETS"),
    "all but READ_PRODUCTS": tuple(scope for scope in EVERY_SCOPE if scope != "READ_PRODUCTS"),
}


def expected(path: str, method: str, scopes: tuple[str, ...] | None) -> str:
    """The code for a known key with *scopes*, for no key when that is None, in the contract's order of checks."""
    wants = RESOURCES[path]
    if wants is UNKNOWN:
        return "404 not_found"
    wanted = wants.of(method)
    if wanted is None:
        return "405 method_not_allowed"
    if wanted == ANYBODY or (scopes is not None and wanted in scopes):
        return "200"
    return "401 unauthorized" if scopes is None else "403 insufficient_scope"


def ask_everything(gateway: Gateway, method: str, key: str | None) -> dict[tuple[str, str], Answer]:
    """Ask *method* of every resource in both spellings; a connection for each, since addresses have limits too."""
    answers = {}
    for prefix in PREFIXES:
        with gateway.connect(fresh_address()) as wire:
            for path in RESOURCES:
                body = b'{"event":"budget.created","data":{}}' if method in ("POST", "PUT", "PATCH") else None
                answers[prefix, path] = wire.ask(method, prefix + path, key, ["Content-Type: application/json"], body)
    return answers


def without_bodies(codes: dict[tuple[str, str], str], method: str) -> dict[tuple[str, str], str]:
    """An answer to HEAD has no body to name the error in."""
    return {cell: code[:3] if method == "HEAD" else code for cell, code in codes.items()}


def passed(gateway: Gateway) -> list[tuple[str, str]]:
    return [(request.method, request.target) for request in gateway.backend.requests]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("holder", CREDENTIALS)
def test_a_key_may_do_what_its_scopes_say_and_nothing_else(gateway: Gateway, holder: str, method: str) -> None:
    scopes = CREDENTIALS[holder]
    answers = ask_everything(gateway, method, gateway.key_for(*scopes))
    wanted = {cell: expected(cell[1], method, scopes) for cell in answers}
    assert {cell: answer.code for cell, answer in answers.items()} == without_bodies(wanted, method)
    admitted = [(method, path) for (_, path), code in wanted.items() if code == "200"]
    assert passed(gateway) == [cell for cell in admitted if cell[1] != "/api/public/webhooks/test"]
    for (_, path), answer in answers.items():
        assert [bool(answer.all(name)) for name in RATE_FIELDS] == [answer.status == 200] * 4, path
        if answer.status == 403 and method != "HEAD":
            details = answer.json["details"]
            assert details["requiredScope"] == RESOURCES[path].of(method)
            assert sorted(details["grantedScopes"]) == sorted(scopes)
        if answer.status == 405:
            assert answer.one("allow") == RESOURCES[path].allow, path


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("key", [None, JUNK], ids=["no key", "an unknown key"])
def test_without_a_known_key_only_public_links_are_served(gateway: Gateway, key: str | None, method: str) -> None:
    answers = ask_everything(gateway, method, key)
    refused = "401 unauthorized" if key is None else "401 invalid_api_key"
    wanted = {cell: expected(cell[1], method, None).replace("401 unauthorized", refused) for cell in answers}
    assert {cell: answer.code for cell, answer in answers.items()} == without_bodies(wanted, method)
    assert passed(gateway) == [(method, path) for (_, path), code in wanted.items() if code == "200"]
    assert all(answer.all("www-authenticate") for answer in answers.values() if answer.status == 401)
    assert JUNK.encode() not in gateway.backend.raw
