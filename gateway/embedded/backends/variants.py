"""Variants of products: `/api/public/product-variants`, and what concerns a product together with its variants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web
from pydantic import Field

from gateway.embedded.backends import parameters, seeds
from gateway.embedded.backends.answers import answer
from gateway.embedded.backends.bodies import Amount, Body, Count, Identifier, Name, read
from gateway.embedded.backends.documents import Documents, create_table
from gateway.embedded.backends.pages import page_request
from gateway.embedded.backends.products import PRODUCTS, NewProduct
from gateway.embedded.backends.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.embedded.backends.database import Connection, Database

VARIANTS = Documents("demo_products.variants", "Variant")

_OF_PRODUCT = """, product_id bigint NOT NULL GENERATED ALWAYS AS ((document ->> 'productId')::bigint) STORED
    CONSTRAINT "Product" REFERENCES demo_products.products ON DELETE CASCADE"""

STATEMENTS = f"""
    {create_table(VARIANTS.table, _OF_PRODUCT)}
    CREATE INDEX ON {VARIANTS.table} (product_id);
"""

_FILTERED = "product_id = $1 AND ($2::boolean IS NULL OR (document ->> 'isActive')::boolean = $2)"


class VariantOfProduct(Body):
    """What makes a variant of a product that is known already."""

    name: Name
    description: str | None = None
    price: Amount
    stock: Count = 0
    sku: str | None = None
    barcode: str | None = None
    image_url: str | None = None
    attributes: dict[str, Any] = Field(default_factory=dict)
    is_active: bool = True
    sort_order: Count = 0


class NewVariant(VariantOfProduct):
    """What makes a variant."""

    product_id: Identifier


class NewProductWithVariants(NewProduct):
    """What makes a product and its variants at once."""

    variants: list[VariantOfProduct] = Field(default_factory=list)


async def seed(connection: Connection) -> None:
    """Fill the new tables with a small catalogue."""
    for product in seeds.products():
        await _insert_with_variants(connection, NewProductWithVariants.model_validate(product))


class Variants(Resource):
    """Answers the requests about variants."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, VARIANTS, NewVariant)

    async def page_of_product(self, request: web.Request) -> web.Response:
        """GET the variants of one product; 404 when there is no such product."""
        product_id = parameters.path_identifier(request, PRODUCTS.noun)
        wanted, active = page_request(request), parameters.boolean(request, "isActive")
        async with self.database.connection() as connection:
            await PRODUCTS.get(connection, product_id)
        return await self.answer_page(wanted, _FILTERED, product_id, active)

    async def create_with_product(self, request: web.Request) -> web.Response:
        """POST a product with its variants: all of them are stored, or none."""
        body = await read(request, NewProductWithVariants)
        async with self.database.connection() as connection, connection.transaction():
            return answer(await _insert_with_variants(connection, body), 201)


async def _insert_with_variants(connection: Connection, body: NewProductWithVariants) -> dict[str, Any]:
    document = body.document()
    variants = document.pop("variants")
    product = await PRODUCTS.insert(connection, document)
    product["variants"] = [
        await VARIANTS.insert(connection, variant | {"productId": product["id"]}) for variant in variants
    ]
    return product


def routes(database: Database) -> Iterable[web.RouteDef]:
    """The routes about variants; they come before those with a product's id."""
    variants = Variants(database)
    return [
        web.post("/api/public/products/with-variants", variants.create_with_product),
        web.get("/api/public/products/{id}/variants", variants.page_of_product),
        *variants.one_routes("/api/public/product-variants"),
    ]
