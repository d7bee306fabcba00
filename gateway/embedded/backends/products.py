"""Products: `/api/public/products`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from aiohttp import web

from gateway.embedded.backends import parameters
from gateway.embedded.backends.bodies import Amount, Body, Count, Identifier, Name
from gateway.embedded.backends.documents import Documents, create_table
from gateway.embedded.backends.pages import page_request
from gateway.embedded.backends.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.embedded.backends.database import Database

PRODUCTS = Documents("demo_products.products", "Product", "Another product has this productCode")

# Indexed by digest, since an index entry has a size limit that texts here do not have.
STATEMENTS = f"""
    {create_table(PRODUCTS.table)}
    CREATE UNIQUE INDEX ON {PRODUCTS.table} (md5(document ->> 'productCode'));
"""

_FILTERED = """
    ($1::text IS NULL OR strpos(lower(concat_ws(' ', document ->> 'productCode', document ->> 'name',
        document ->> 'description')), lower($1)) > 0)
    AND ($2::text IS NULL OR lower(document ->> 'category') = lower($2))
    AND ($3::text IS NULL OR document ->> 'type' = $3)
    AND ($4::boolean IS NULL OR (document ->> 'isActive')::boolean = $4)"""

_TYPES = {"product": "product", "service": "service"}


class NewProduct(Body):
    """What makes a product."""

    product_code: Name
    name: str | None = None
    description: str = ""
    category: str = "general"
    price: Amount
    stock: Count = 0
    net_content: Amount | None = None
    net_content_unit: str | None = None
    is_active: bool = True
    sku: str | None = None
    barcode: str | None = None
    image_url: str | None = None
    type: Literal["product", "service"] = "product"
    business_id: Identifier = 1


class Products(Resource):
    """Answers the requests about products."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, PRODUCTS, NewProduct)

    async def page(self, request: web.Request) -> web.Response:
        """GET the collection; `search` looks at productCode, name and description."""
        return await self.answer_page(
            page_request(request),
            _FILTERED,
            parameters.text(request, "search"),
            parameters.text(request, "category"),
            parameters.choice(request, "type", _TYPES),
            parameters.boolean(request, "isActive"),
        )


def routes(database: Database) -> Iterable[web.RouteDef]:
    """The routes about products themselves."""
    products = Products(database)
    path = "/api/public/products"
    return [web.get(path, products.page), *products.one_routes(path)]
