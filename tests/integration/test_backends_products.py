"""The products backend: products and their variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.backends import Asker, backend, error_of
from tests.servers import execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/api/public/products"
VARIANTS = "/api/public/product-variants"
SHIRT_ID = 8


@pytest.fixture
async def products(postgres_dsn: str) -> AsyncIterator[Asker]:
    async with backend("products", postgres_dsn) as asker:
        yield asker


@pytest.mark.parametrize(
    ("query", "codes"),
    [
        ("search=lap-00", {"LAP-001", "LAP-002"}),
        ("search=mechanical", {"KEY-001"}),
        ("search=Monitor%2027", {"MON-001"}),
        ("category=furniture", {"DSK-001", "CHR-001", "LMP-001"}),
        ("type=service", {"INS-001", "SUP-001"}),
        ("type=SERVICE&search=remote", {"SUP-001"}),
        ("isActive=false", {"INK-001"}),
        ("isActive=true&category=Supplies", {"PAP-001"}),
        ("category=nothing", set()),
    ],
)
async def test_filters_narrow_the_page(products: Asker, query: str, codes: set[str]) -> None:
    answer = await products.get(f"{PATH}?{query}")
    assert {product["productCode"] for product in answer.data["data"]} == codes
    assert answer.data["meta"]["totalItems"] == len(codes)


@pytest.mark.parametrize("query", ["isActive=maybe", "type=thing", "search=%00", "category=a%00b"])
async def test_filter_that_cannot_match_anything_is_refused_by_name(products: Asker, query: str) -> None:
    answer = await products.get(f"{PATH}?{query}")
    assert error_of(answer) == (422, "validation_error")
    assert answer.body["errors"][0]["field"] == query.partition("=")[0]


async def test_product_lives_from_create_to_delete(products: Asker) -> None:
    body = {"productCode": "P-1", "description": "A thing", "category": "Things", "price": 1299.99, "stock": 5}
    created = await products.post(PATH, body)
    assert created.status == 201
    assert body.items() <= created.data.items()
    assert (created.data["isActive"], created.data["type"]) == (True, "product")
    one = f"{PATH}/{created.data['id']}"
    assert (await products.put(one, {"price": 10, "isActive": False})).data["price"] == 10
    assert (await products.get(one)).data["isActive"] is False
    assert (await products.delete(one)).status == 204
    assert (await products.get(one)).status == 404


async def test_product_code_of_another_product_is_a_conflict(products: Asker) -> None:
    assert error_of(await products.post(PATH, {"productCode": "LAP-001", "price": 1})) == (409, "conflict")
    assert error_of(await products.put(f"{PATH}/2", {"productCode": "LAP-001"})) == (409, "conflict")


async def test_product_with_variants_is_stored_whole(products: Asker) -> None:
    variants = [
        {"name": "Small", "price": 25.0, "stock": 100, "attributes": {"size": "S", "tags": [1, None, {"a": True}]}},
        {"name": "Medium", "price": 27.0, "isActive": False},
    ]
    created = await products.post(f"{PATH}/with-variants", {"productCode": "S-1", "price": 25, "variants": variants})
    assert created.status == 201
    assert [variant["name"] for variant in created.data["variants"]] == ["Small", "Medium"]
    page = await products.get(f"{PATH}/{created.data['id']}/variants")
    assert page.data["meta"]["totalItems"] == 2
    assert page.data["data"][1]["attributes"] == variants[0]["attributes"]


async def test_product_with_variants_that_conflicts_leaves_nothing_behind(products: Asker) -> None:
    body = {"productCode": "LAP-001", "price": 1, "variants": [{"name": "A", "price": 1}]}
    assert error_of(await products.post(f"{PATH}/with-variants", body)) == (409, "conflict")
    assert (await products.get(f"{PATH}?limit=1")).data["meta"]["totalItems"] == 12


async def test_product_whose_variants_cannot_be_stored_is_not_stored_either(products: Asker, postgres_dsn: str) -> None:
    assert (await products.get(PATH)).status == 200
    await execute(postgres_dsn, "ALTER TABLE demo_products.variants ADD CHECK ((document ->> 'sku')::int > 0)")
    body = {"productCode": "S-1", "price": 1, "variants": [{"name": "A", "price": 1, "sku": "not a number"}]}
    assert (await products.post(f"{PATH}/with-variants", body)).status == 422
    assert (await products.get(f"{PATH}?search=S-1")).data["data"] == []


async def test_active_variants_are_a_page_of_their_own(products: Asker) -> None:
    page = await products.get(f"{PATH}/{SHIRT_ID}/variants?page=1&limit=1&isActive=true")
    assert page.data["meta"] == {
        "totalItems": 2,
        "itemCount": 1,
        "itemsPerPage": 1,
        "totalPages": 2,
        "currentPage": 1,
    }


async def test_variant_lives_from_create_to_delete(products: Asker) -> None:
    created = await products.post(VARIANTS, {"productId": SHIRT_ID, "name": "Huge", "price": 30})
    assert created.status == 201
    assert {"productId": SHIRT_ID, "price": 30, "attributes": {}}.items() <= created.data.items()
    one = f"{VARIANTS}/{created.data['id']}"
    assert (await products.put(one, {"name": "Vast"})).data["name"] == "Vast"
    assert (await products.get(one)).data["name"] == "Vast"
    assert (await products.delete(one)).status == 204
    assert (await products.get(one)).status == 404


async def test_variant_needs_a_product_that_exists(products: Asker) -> None:
    refused = await products.post(VARIANTS, {"productId": 999, "name": "Lost", "price": 1})
    assert (error_of(refused), refused.body["message"]) == ((404, "not_found"), "Product not found")
    assert error_of(await products.get(f"{PATH}/999/variants")) == (404, "not_found")


async def test_variants_go_with_their_product(products: Asker) -> None:
    variant = (await products.get(f"{PATH}/{SHIRT_ID}/variants")).data["data"][0]["id"]
    assert (await products.delete(f"{PATH}/{SHIRT_ID}")).status == 204
    assert (await products.get(f"{VARIANTS}/{variant}")).status == 404
