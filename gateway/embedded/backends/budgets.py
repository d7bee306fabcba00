"""Budgets: `/api/public/budgets`, for those who hold a key."""

from __future__ import annotations

import datetime
import enum
import secrets
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic
from aiohttp import web
from pydantic import Field

from gateway.embedded.backends import parameters, seeds
from gateway.embedded.backends.answers import answer
from gateway.embedded.backends.bodies import Amount, Body, Identifier, read
from gateway.embedded.backends.documents import Documents, create_table
from gateway.embedded.backends.pages import page_request
from gateway.embedded.backends.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.embedded.backends.database import Connection, Database

BUDGETS = Documents("demo_budgets.budgets", "Budget")

DECIDED_ALREADY = "This budget is decided already"

STATEMENTS = f"""
    {create_table(BUDGETS.table)}
    CREATE UNIQUE INDEX ON {BUDGETS.table} ((document ->> 'publicToken'));
"""

_FILTERED = """
    ($1::text IS NULL OR strpos(lower(concat_ws(' ', id, document ->> 'customerName', document ->> 'title',
        document ->> 'description', document ->> 'comments')), lower($1)) > 0)
    AND ($2::int IS NULL OR (document ->> 'state')::int = $2)
    AND ($3::bigint IS NULL OR (document ->> 'customerId')::bigint = $3)
    AND ($4::text IS NULL OR left(document ->> 'issueDate', 10) >= $4)
    AND ($5::text IS NULL OR left(document ->> 'issueDate', 10) <= $5)"""

UNDECIDED = "document ->> 'state' = '0'"
_UNDECIDED_OR_THE_SAME = f"NOT $2 ? 'state' OR document -> 'state' = $2 -> 'state' OR {UNDECIDED}"


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


class State(enum.IntEnum):
    """Whether the customer has decided; the name is the `status`."""

    PENDING = 0
    APPROVED = 1
    REJECTED = 2


_STATES = {written: state.value for state in State for written in (str(state.value), state.name.lower())}


class Item(Body):
    """One line of a budget."""

    product_id: Identifier | None = None
    package_id: Identifier | None = None
    description: str | None = None
    quantity: Annotated[float, pydantic.Field(gt=0, le=1e9)]
    unit_price: Amount


class NewBudget(Body):
    """What makes a budget. A total or subtotal that is not given is the sum of the items (see `shown`)."""

    customer_id: Identifier
    customer_name: str | None = None
    title: str | None = None
    description: str | None = None
    comments: str | None = None
    currency: str = "USD"
    issue_date: datetime.date | datetime.datetime = pydantic.Field(default_factory=_today)
    expiration_date: datetime.date | datetime.datetime | None = None
    seller_id: Identifier = 1
    business_id: Identifier = 1
    minimum_payment_to_confirm: Amount = 0
    subtotal: Amount | None = None
    iva: Amount = 0
    total: Amount | None = None
    state: Literal[0, 1, 2] = 0
    status: Literal["PENDING", "APPROVED", "REJECTED"] | None = None
    items: list[Item] = Field(default_factory=list)

    def document(self) -> dict[str, Any]:
        """A new budget, with the token under which its customer may see it."""
        return _with_state(super().document()) | {"publicToken": secrets.token_urlsafe(24)}

    def changes(self) -> dict[str, Any]:
        """The named members; sums that were given for the old items do not outlive them."""
        changes = _with_state(super().changes())
        return {"subtotal": None, "total": None} | changes if "items" in changes else changes


def shown(budget: dict[str, Any]) -> dict[str, Any]:
    """A stored budget with what follows from it: number, status, and the sums."""
    items = [
        item | {"id": line, "budgetId": budget["id"], "subtotal": round(item["quantity"] * item["unitPrice"], 2)}
        for line, item in enumerate(budget["items"], start=1)
    ]
    subtotal = _given(budget["subtotal"], sum(item["subtotal"] for item in items))
    return budget | {
        "number": f"B-{budget['id']:06}",
        "status": State(budget["state"]).name,
        "items": items,
        "subtotal": subtotal,
        "total": _given(budget["total"], subtotal + budget["iva"]),
    }


async def seed(connection: Connection) -> None:
    """Fill the new table with recent offers, whose public tokens are `demo-budget-1` and so on."""
    for number, budget in enumerate(seeds.budgets(_today()), start=1):
        document = NewBudget.model_validate(budget, strict=False).document()
        await BUDGETS.insert(connection, document | {"publicToken": f"demo-budget-{number}"})


class Budgets(Resource):
    """Answers the requests about budgets."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, BUDGETS, NewBudget)

    def show(self, document: dict[str, Any]) -> dict[str, Any]:
        """The budget with what follows from it."""
        return shown(document)

    async def page(self, request: web.Request) -> web.Response:
        """GET the collection; `search` looks at id, customer's name, title, description and comments."""
        return await self.answer_page(
            page_request(request),
            _FILTERED,
            parameters.text(request, "search"),
            parameters.choice(request, "status", _STATES),
            parameters.number(request, "customerId"),
            parameters.day(request, "startDate"),
            parameters.day(request, "endDate"),
        )

    async def update(self, request: web.Request) -> web.Response:
        """PUT some members; 409 for another state when that is decided already."""
        identifier = self.identifier(request)
        changes = await read(request, self.partly_written)
        async with self.database.connection() as connection:
            budget = await BUDGETS.change(
                connection, identifier, changes.changes(), only_if=_UNDECIDED_OR_THE_SAME, otherwise=DECIDED_ALREADY
            )
        return answer(shown(budget))


def routes(database: Database) -> Iterable[web.RouteDef]:
    """The routes that want a key for budgets."""
    budgets = Budgets(database)
    path = "/api/public/budgets"
    return [web.get(path, budgets.page), *budgets.one_routes(path)]


def _with_state(document: dict[str, Any]) -> dict[str, Any]:
    status = document.pop("status", None)
    return document if status is None else document | {"state": State[status].value}


def _given(value: float | None, otherwise: float) -> float:
    return round(otherwise, 2) if value is None else value
