"""The API's document: every answer has its entry, and what is written is right."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.core.bucket import Algorithm, Limit
from gateway.core.decision import CredentialMissing
from gateway.core.denials import refuse
from gateway.core.routes import Pattern, Route, RouteTable
from gateway.core.snapshot import KeyFormat
from gateway.management.openapi.document import openapi_document
from gateway.management.openapi.operations import OPERATIONS
from gateway.management.openapi.refusals import FOR_ALL
from gateway.management.openapi.schemas import known_refusals
from gateway.settings.compile import BUILT_IN_ROUTES
from gateway.settings.traffic import RouteSettings
from tests.descriptions import Description
from tests.house.tree import TOP
from tests.unit.management.asking import SNAPSHOT

WEBHOOK_ROUTE = Route(
    name="webhooks.test",
    pattern=Pattern.parse("/api/public/webhooks/test"),
    methods=frozenset({"POST"}),
    scope="WEBHOOKS",
    answer="webhooks.test",
    limits=(Limit("webhooks.test:1", 10, 60_000, Algorithm.TOKEN_BUCKET),),
)
FULL = replace(SNAPSHOT, routes=RouteTable((*BUILT_IN_ROUTES, WEBHOOK_ROUTE)))


def configurable_answers() -> set[str]:
    """The answers that a route in gateway.yaml may name."""
    kinds = get_args(get_type_hints(RouteSettings)["answer"])
    return {name for kind in kinds for name in get_args(kind)}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi_document(FULL)


@pytest.fixture(scope="module")
def description(document: dict[str, Any]) -> Description:
    return Description(document)


def test_every_answer_of_the_gateway_has_an_entry() -> None:
    answers = {route.answer for route in BUILT_IN_ROUTES} | configurable_answers()
    missing = sorted(str(answer) for answer in answers - set(OPERATIONS))
    assert not missing, (
        f"{missing} would be missing from /openapi.json and /docs: add an Operation for each to OPERATIONS in "
        "gateway/management/openapi/operations.py, with the model of its body or query, the model of its answer (in "
        "views.py, with an example in examples.py), and the refusals that its function raises"
    )


def test_no_entry_is_without_an_answer() -> None:
    assert set(OPERATIONS) == {route.answer for route in BUILT_IN_ROUTES} | configurable_answers()


def test_the_document_is_openapi_3_1(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


def test_only_what_the_gateway_answers_itself_is_described() -> None:
    proxied = Route(
        "budgets", Pattern.parse("/api/public/budgets/**"), frozenset({"GET"}), "READ_BUDGETS", upstream="b"
    )
    snapshot = replace(SNAPSHOT, routes=RouteTable((*BUILT_IN_ROUTES, proxied)))
    assert set(openapi_document(snapshot)["paths"]) == {route.pattern.text for route in BUILT_IN_ROUTES}


def test_every_example_fits_its_schema(description: Description) -> None:
    checked = 0
    bodies = [operation["requestBody"] for _, operation in description.operations() if "requestBody" in operation]
    answers = [answer for _, operation in description.operations() for answer in operation["responses"].values()]
    for described in (*bodies, *answers, *description.document["components"]["responses"].values()):
        for content in described.get("content", {}).values():
            examples = [example["value"] for example in content.get("examples", {}).values()]
            examples += [content["example"]] if "example" in content else []
            for example in examples:
                assert description.complaints(content["schema"], example) == []
                checked += 1
    assert checked > 30


def test_every_member_and_parameter_says_what_it_is(description: Description) -> None:
    silent = []
    for name, schema in description.document["components"]["schemas"].items():
        if "allOf" not in schema:
            for member, described in schema.get("properties", {}).items():
                refers = schema["properties"][member].get("$ref")
                silent += [f"{name}.{member}"] if not described.get("description") and not refers else []
    for where, operation in description.operations():
        parameters = operation.get("parameters", ())
        silent += [f"{where} {parameter['name']}" for parameter in parameters if not parameter["description"]]
    assert silent == []


def test_every_operation_has_a_name_of_its_own_and_what_every_request_can_get(description: Description) -> None:
    names = [operation["operationId"] for _, operation in description.operations()]
    assert len(names) == len(set(names))
    everywhere = {str(refusal.sample.status) for refusal in FOR_ALL}
    for where, operation in description.operations():
        assert everywhere < set(operation["responses"]), where


@pytest.mark.parametrize(
    ("name", "statuses"),
    [
        ("auth.login", {"401", "415", "422", "429", "503"}),
        ("keys.create", {"401", "403", "409", "415", "422", "503"}),
        ("keys.list", {"401", "403", "422", "503"}),
        ("keys.get", {"401", "403", "404", "503"}),
        ("keys.update", {"401", "403", "404", "409", "415", "422", "503"}),
        ("keys.delete", {"401", "403", "404", "503"}),
        ("keys.rotate", {"401", "403", "404", "409", "415", "422", "503"}),
        ("keys.audit", {"401", "403", "404", "422", "503"}),
        ("webhooks.test", {"401", "403", "415", "422", "429", "503"}),
        ("openapi", set()),
        ("docs", set()),
    ],
)
def test_an_operation_has_the_refusals_that_it_can_give(
    description: Description, name: str, statuses: set[str]
) -> None:
    everywhere = {str(refusal.sample.status) for refusal in FOR_ALL}
    assert {status for status in description.operation(name)["responses"] if status >= "4"} - everywhere == statuses


def test_refusals_that_share_a_status_are_told_apart_by_their_code(description: Description) -> None:
    refused = description.document["paths"]["/api/public/webhooks/test"]["post"]["responses"]["403"]
    schema = refused["content"]["application/json"]["schema"]
    assert set(schema["discriminator"]["mapping"]) == {"api_key_suspended", "ip_not_allowed", "insufficient_scope"}
    envelope = refused["content"]["application/json"]["examples"]["ip_not_allowed"]["value"]
    assert description.complaints(schema, envelope) == []
    assert description.complaints(schema, {**envelope, "error": "unheard_of"})


def test_throttled_answers_have_their_headers(document: dict[str, Any]) -> None:
    headers = document["components"]["responses"]["RateLimitExceeded"]["headers"]
    needed = {name for name, header in headers.items() if header["required"]}
    assert needed >= {"Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-Request-Id"}


def test_scopes_are_those_of_the_configuration(document: dict[str, Any]) -> None:
    assert document["components"]["schemas"]["Scope"]["enum"] == list(SNAPSHOT.scopes)
    other = openapi_document(replace(FULL, scopes={"READ_ORDERS": "Read orders"}))
    assert other["components"]["schemas"]["Scope"]["enum"] == ["READ_ORDERS"]
    assert other["paths"]["/api-keys"]["post"]["requestBody"]["content"]["application/json"]["example"]["scopes"] == [
        "READ_ORDERS"
    ]


def test_without_scopes_the_document_is_still_one() -> None:
    document = openapi_document(replace(FULL, scopes={}))
    assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []


@pytest.mark.parametrize(("prefixes", "urls"), [(("/v1",), ["/", "/v1"]), ((), ["/"])])
def test_servers_are_the_prefixes_that_are_stripped(prefixes: tuple[str, ...], urls: list[str]) -> None:
    document = openapi_document(replace(FULL, strip_prefixes=prefixes))
    assert [server["url"] for server in document["servers"]] == urls


def test_a_configured_route_says_what_it_needs(document: dict[str, Any]) -> None:
    operation = document["paths"]["/api/public/webhooks/test"]["post"]
    assert operation["security"] == [{"apiKey": []}]
    assert "Needs the scope `WEBHOOKS`. At most 10 requests in 60 seconds by key." in operation["description"]


def test_a_token_in_a_path_is_described_by_its_form() -> None:
    route = replace(WEBHOOK_ROUTE, pattern=Pattern.parse("/hooks/{hook:token}/test"))
    document = openapi_document(replace(SNAPSHOT, routes=RouteTable((route,))))
    (parameter,) = document["paths"]["/hooks/{hook}/test"]["post"]["parameters"]
    assert parameter["schema"]["pattern"] == "^[A-Za-z0-9_-]{1,100}$"


def test_making_the_document_twice_gives_the_same(document: dict[str, Any]) -> None:
    assert openapi_document(FULL) == document


def test_without_the_built_in_login_there_is_no_word_of_it() -> None:
    routes = [route for route in BUILT_IN_ROUTES if not route.name.startswith("auth.")]
    document = openapi_document(replace(SNAPSHOT, routes=RouteTable(routes)))
    assert "Login" not in {tag["name"] for tag in document["tags"]}
    assert "identity provider" in document["components"]["securitySchemes"]["login"]["description"]


def test_every_refusal_of_the_control_plane_is_described() -> None:
    known = {(refusal.sample.status, refusal.sample.code) for refusal in known_refusals()}
    made = {
        (int(status), code)
        for path in (TOP / "gateway" / "management").glob("*.py")
        for status, code in re.findall(r'\bRefusal\(\s*(\d{3}),\s*"(\w+)"', path.read_text())
    }
    assert made
    missing = sorted(made - known)
    assert not missing, (
        f"{missing} would be missing from /openapi.json: add a KnownRefusal for each to "
        "gateway/management/openapi/refusals.py, and to the operations that can give it"
    )


@pytest.mark.parametrize("in_api_key", [False, True])
def test_the_refusal_for_want_of_a_key_names_the_fields_that_are_read(in_api_key: bool) -> None:
    snapshot = replace(FULL, key_format=KeyFormat(in_api_key=in_api_key))
    (operation,) = openapi_document(snapshot)["paths"]["/api/public/webhooks/test"].values()
    told = operation["responses"]["401"]["content"]["application/json"]["examples"]["unauthorized"]
    refused = refuse(CredentialMissing(in_api_key))
    assert (told["value"]["message"], told["value"]["details"]) == (refused.message, dict(refused.details))
    assert ("X-API-Key" in told["summary"]) is in_api_key
