"""Budgets for those who hold no key but a budget's public token, and the form that creates such a budget."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.embedded.backends import parameters
from gateway.embedded.backends.answers import answer, missing
from gateway.embedded.backends.bodies import read
from gateway.embedded.backends.budgets import BUDGETS, DECIDED_ALREADY, UNDECIDED, NewBudget, State, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.embedded.backends.database import Connection, Database

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,100}", re.ASCII)
_AUTHORITY = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}", re.ASCII)
_INTERNAL = frozenset({"customerId", "sellerId", "businessId"})


class PublicBudgets:
    """Answers the requests of a budget's customer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, request: web.Request) -> web.Response:
        """POST a budget: 201 with the address at which its customer finds it."""
        body = await read(request, NewBudget)
        async with self._database.connection() as connection:
            budget = await BUDGETS.insert(connection, body.document())
        created = {
            "success": True,
            "message": "Budget created",
            "publicUrl": f"{_origin(request)}/api/public/budgets/token/{budget['publicToken']}",
            "budgetId": budget["id"],
            "publicToken": budget["publicToken"],
        }
        return answer(created, 201)

    async def by_token(self, request: web.Request) -> web.Response:
        """GET the budget of a token."""
        async with self._database.connection() as connection:
            return answer(_public(shown(await _find(connection, request))))

    async def by_id(self, request: web.Request) -> web.Response:
        """GET a budget by its number, without its token: who counts through the ids must not be able to decide."""
        identifier = parameters.path_identifier(request, BUDGETS.noun)
        async with self._database.connection() as connection:
            budget = _public(shown(await BUDGETS.get(connection, identifier)))
        del budget["publicToken"]
        return answer(budget)

    async def confirm(self, request: web.Request) -> web.Response:
        """POST the customer's consent; 409 when the budget is decided already."""
        return await self._decide(request, State.APPROVED, "Budget confirmed")

    async def reject(self, request: web.Request) -> web.Response:
        """POST the customer's refusal; 409 when the budget is decided already."""
        return await self._decide(request, State.REJECTED, "Budget rejected")

    async def _decide(self, request: web.Request, state: State, message: str) -> web.Response:
        async with self._database.connection() as connection:
            budget = await _find(connection, request)
            decided = await BUDGETS.change(
                connection, budget["id"], {"state": state.value}, only_if=UNDECIDED, otherwise=DECIDED_ALREADY
            )
        return answer({"message": message, "budget": _public(shown(decided))})


async def _find(connection: Connection, request: web.Request) -> dict[str, Any]:
    token = request.match_info["token"]
    budget = _TOKEN.fullmatch(token) and await BUDGETS.find(connection, "document ->> 'publicToken' = $1", token)
    if not budget:
        raise missing("Budget")
    return budget


def _public(budget: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in budget.items() if name not in _INTERNAL}


def _origin(request: web.Request) -> str:
    """Where the client reached us: behind the gateway that is what the gateway forwards."""
    scheme = "https" if request.headers.get("X-Forwarded-Proto") == "https" else "http"
    authority = request.headers.get("X-Forwarded-Host", request.host)
    return f"{scheme}://{authority if _AUTHORITY.fullmatch(authority) else 'localhost'}"


def routes(database: Database) -> Iterable[web.RouteDef]:
    """The routes by public token, and the public form."""
    public = PublicBudgets(database)
    path = "/api/public/budgets"
    return [
        web.post("/api/budgets/public", public.create),
        web.get(f"{path}/public/{{id}}", public.by_id),
        web.get(f"{path}/token/{{token}}", public.by_token),
        web.post(f"{path}/token/{{token}}/confirm", public.confirm),
        web.post(f"{path}/token/{{token}}/reject", public.reject),
    ]
