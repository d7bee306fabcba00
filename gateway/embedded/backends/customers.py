"""Customers: `/api/public/customers`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import pydantic
from aiohttp import web

from gateway.embedded.backends import parameters, seeds
from gateway.embedded.backends.bodies import Body, Count, Identifier, Name
from gateway.embedded.backends.documents import Documents, create_table
from gateway.embedded.backends.pages import page_request
from gateway.embedded.backends.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.embedded.backends.database import Connection, Database

CUSTOMERS = Documents("demo_customers.customers", "Customer", "Another customer has this e-mail address")

# Indexed by digest, since an index entry has a size limit that texts here do not have.
STATEMENTS = f"""
    {create_table(CUSTOMERS.table)}
    CREATE UNIQUE INDEX ON {CUSTOMERS.table} (md5(lower(document ->> 'email')));
"""

_SEARCHED = """($1::text IS NULL OR strpos(lower(concat_ws(' ', document ->> 'firstName', document ->> 'lastName',
    document ->> 'email', document ->> 'phoneNumber')), lower($1)) > 0)"""


class NewCustomer(Body):
    """What makes a customer."""

    first_name: Name
    last_name: Name
    email: Annotated[str, pydantic.Field(pattern=r"^[^@\s]+@[^@\s]+$")] | None = None
    phone_number: str | None = None
    dni: Count | None = None
    cuit: str | None = None
    business_id: Identifier = 1


async def seed(connection: Connection) -> None:
    """Fill the new table with plausible people."""
    for customer in seeds.customers():
        await CUSTOMERS.insert(connection, NewCustomer.model_validate(customer).document())


class Customers(Resource):
    """Answers the requests about customers."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, CUSTOMERS, NewCustomer)

    async def page(self, request: web.Request) -> web.Response:
        """GET the collection; `search` looks at names, e-mail and phone."""
        return await self.answer_page(page_request(request), _SEARCHED, parameters.text(request, "search"))


def routes(database: Database) -> Iterable[web.RouteDef]:
    """All routes of this backend."""
    customers = Customers(database)
    path = "/api/public/customers"
    return [web.get(path, customers.page), *customers.one_routes(path)]
