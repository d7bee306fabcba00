"""The files that ship: `gateway.yaml`, the examples and the JSON Schema."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.core.paths import Target, parse_target
from gateway.core.routes import Route
from gateway.settings import schema, stores, traffic
from gateway.settings.compile import compile_snapshot
from gateway.settings.fields import Section
from gateway.settings.jsonschema import SCHEMA_PATH, json_schema
from gateway.settings.load import load
from gateway.settings.sentences import sentences
from tests.unit.settings.conftest import ENVIRON, SECRET_KEY

if TYPE_CHECKING:
    from gateway.core.routes import Matched
    from gateway.core.snapshot import Snapshot

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted(path.name for path in (ROOT / "config").glob("*.yaml"))
PUBLIC = "/api/public"


@pytest.fixture(scope="module")
def snapshot() -> Snapshot:
    """Compile gateway.yaml as it ships."""
    return compile_snapshot(load(ROOT / "gateway.yaml", ENVIRON))


def _match(snapshot: Snapshot, method: str, path: str) -> Route | Matched:
    target = parse_target(path, snapshot.strip_prefixes)
    assert isinstance(target, Target)
    return snapshot.routes.match(method, target)


@pytest.mark.parametrize(
    ("methods", "path", "scope", "upstream"),
    [
        ("GET HEAD", "/budgets", "READ_BUDGETS", "budgets"),
        ("GET HEAD", "/budgets/7/items", "READ_BUDGETS", "budgets"),
        ("POST PUT DELETE", "/budgets/7", "WRITE_BUDGETS", "budgets"),
        ("GET HEAD", "/budget-approvals/pending", "READ_BUDGETS", "budgets"),
        ("POST PUT DELETE", "/budget-approvals/7/process", "WRITE_BUDGETS", "budgets"),
        ("GET HEAD", "/customers", "READ_CUSTOMERS", "customers"),
        ("POST PUT DELETE", "/customers/7", "WRITE_CUSTOMERS", "customers"),
        ("GET HEAD", "/products/7/variants", "READ_PRODUCTS", "products"),
        ("POST PUT DELETE", "/products/with-variants", "WRITE_PRODUCTS", "products"),
        ("GET HEAD", "/product-variants/7", "READ_PRODUCTS", "products"),
        ("POST PUT DELETE", "/product-variants", "WRITE_PRODUCTS", "products"),
    ],
)
def test_paths_want_the_scopes_of_the_contract(
    snapshot: Snapshot, methods: str, path: str, scope: str, upstream: str
) -> None:
    for prefix, method in product(["", "/v1"], methods.split()):
        route = _match(snapshot, method, prefix + PUBLIC + path)
        assert isinstance(route, Route)
        assert (route.scope, route.public, route.upstream) == (scope, False, upstream)


def test_publishing_a_budget_wants_the_scope_to_write_it(snapshot: Snapshot) -> None:
    route = _match(snapshot, "POST", "/v1/api/budgets/public")
    assert isinstance(route, Route)
    assert route.scope == "WRITE_BUDGETS"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/budgets/public/7"),
        ("GET", "/budgets/token/aB_-9"),
        ("POST", "/budgets/token/aB_-9/confirm"),
        ("POST", "/budgets/token/aB_-9/reject"),
    ],
)
def test_shared_links_need_no_key_and_are_limited_by_address(snapshot: Snapshot, method: str, path: str) -> None:
    route = _match(snapshot, method, PUBLIC + path)
    assert isinstance(route, Route)
    assert route.public
    assert [(limit.capacity, limit.window_ms, limit.by) for limit in route.limits] == [(60, 60_000, "address")]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", "/budgets/token/aB_-9"),
        ("GET", "/budgets/token/a.b"),
        ("GET", "/budgets/token/" + "x" * 101),
        ("GET", "/budgets/token/a/confirm"),
        ("GET", "/budgets/public/7/"),
        ("GET", "/budgets/public"),
        ("PUT", "/budgets/public/7"),
    ],
)
def test_nothing_near_the_shared_links_is_public(snapshot: Snapshot, method: str, path: str) -> None:
    route = _match(snapshot, method, PUBLIC + path)
    assert isinstance(route, Route)
    assert not route.public


def test_webhook_test_is_answered_here_ten_times_a_minute(snapshot: Snapshot) -> None:
    route = _match(snapshot, "POST", "/v1/api/public/webhooks/test")
    assert isinstance(route, Route)
    assert (route.scope, route.answer, route.upstream) == ("WEBHOOKS", "webhooks.test", None)
    assert [(limit.capacity, limit.window_ms) for limit in route.limits] == [(10, 60_000)]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/metrics"), ("GET", "/api/public"), ("GET", "/api/public/budgetsx")]
)
def test_what_is_not_listed_is_unknown(snapshot: Snapshot, method: str, path: str) -> None:
    assert not isinstance(_match(snapshot, method, path), Route)


def test_patch_is_unknown_everywhere(snapshot: Snapshot) -> None:
    assert not any("PATCH" in route.methods for route in snapshot.routes.routes)


def test_scopes_are_the_seven_of_the_contract(snapshot: Snapshot) -> None:
    assert sorted(snapshot.scopes) == [
        "READ_BUDGETS",
        "READ_CUSTOMERS",
        "READ_PRODUCTS",
        "WEBHOOKS",
        "WRITE_BUDGETS",
        "WRITE_CUSTOMERS",
        "WRITE_PRODUCTS",
    ]


def test_ports_and_targets_come_from_the_environment() -> None:
    config = load(
        ROOT / "gateway.yaml",
        ENVIRON
        | {"GATEWAY_PORT": "1", "GATEWAY_ADMIN_PORT": "2", "GATEWAY_ADDRESS": "127.0.0.1", "GATEWAY_STATE": "/s"}
        | {"BUDGETS_URL": "http://127.0.0.1:3", "GATEWAY_WEBHOOKS_ALLOW_PRIVATE": "true"},
    )
    assert (config.listen.public.address, config.listen.public.port, config.listen.internal.port) == ("127.0.0.1", 1, 2)
    assert str(config.journal_directory) == "/s/journal"
    assert [target.url for target in config.upstreams["budgets"].targets] == ["http://127.0.0.1:3"]
    assert config.webhooks.allow_private is True


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_loads_and_compiles(name: str, tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/database-url").write_text("postgresql://db/gateway\n")
    (tmp_path / "secrets/secret-key").write_text(f"{SECRET_KEY}\n")
    copy = tmp_path / name
    copy.write_bytes((ROOT / "config" / name).read_bytes())
    assert compile_snapshot(load(copy, ENVIRON)).routes.routes


def test_examples_are_all_listed() -> None:
    listing = (ROOT / "config/README.md").read_text()
    assert EXAMPLES
    assert all(f"`{name}`" in listing for name in EXAMPLES)


def test_schema_for_editors_is_fresh() -> None:
    kept = (ROOT / SCHEMA_PATH).read_text(encoding="utf-8")
    assert kept == json_schema(), "run python -m gateway.settings.jsonschema"


def test_schema_allows_references_where_numbers_and_switches_stand() -> None:
    definitions: dict[str, Any] = json.loads(json_schema())["$defs"]
    port = definitions["Listener"]["properties"]["port"]
    assert port["anyOf"][0] == {"type": "integer", "minimum": 1, "maximum": 65535}
    assert port["anyOf"][1]["pattern"] == r"\$\{.+\}"
    switch = definitions["Webhooks"]["properties"]["allow_private"]
    assert [choice["type"] for choice in switch["anyOf"]] == ["boolean", "string"]


@pytest.mark.parametrize(
    "section",
    [
        value
        for module in (schema, stores, traffic)
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Section) and value is not Section
    ],
)
def test_every_setting_is_documented_in_whole_sentences(section: type[Section]) -> None:
    said = sentences(section)
    for name in section.model_fields:
        assert said.get(name), name
        assert said[name].endswith("."), name
