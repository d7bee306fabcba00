"""The web application of one backend: its routes, its lifetime, and what becomes of errors."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import asyncpg
import structlog
from aiohttp import web

from gateway.embedded.backends import approvals, approvers, bodies, budgets, customers, products, public, variants
from gateway.embedded.backends.answers import answer, error_answer
from gateway.embedded.backends.database import Database, DatabaseAwayError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping

    from aiohttp.typedefs import Handler

    from gateway.embedded.backends.database import Seed


@dataclasses.dataclass(frozen=True, slots=True)
class Backend:
    """What makes one backend: its schema, the statements and seeds that fill it, and its routes, most exact first."""

    schema: str
    statements: str
    seeds: tuple[Seed, ...]
    routes: tuple[Callable[[Database], Iterable[web.RouteDef]], ...]


BACKENDS: Mapping[str, Backend] = {
    "budgets": Backend(
        "demo_budgets",
        budgets.STATEMENTS + approvers.STATEMENTS + approvals.STATEMENTS,
        (budgets.seed, approvers.seed, approvals.seed),
        (public.routes, budgets.routes, approvers.routes, approvals.routes),
    ),
    "customers": Backend("demo_customers", customers.STATEMENTS, (customers.seed,), (customers.routes,)),
    "products": Backend(
        "demo_products",
        products.STATEMENTS + variants.STATEMENTS,
        (variants.seed,),
        (variants.routes, products.routes),
    ),
}


def application(name: str, dsn: str, body_timeout_s: float = 30.0) -> web.Application:
    """The backend called *name* on the database at *dsn*, which need not answer yet.

    A request's body that is not there within *body_timeout_s* is given up with 408.
    Serve it with `auto_decompress=False`: a compressed body is refused, not inflated.
    """
    backend = BACKENDS[name]
    database = Database(dsn, backend.schema, backend.statements, backend.seeds)

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        database.open()
        yield
        await database.close()

    app = web.Application(middlewares=[_log_changes, _answer_errors], client_max_size=bodies.BODY_MAX_BYTES)
    app[bodies.TIMEOUT_S] = body_timeout_s
    app.cleanup_ctx.append(lifetime)
    app.on_response_prepare.append(_hide_software)
    app.add_routes([web.get("/healthz", _healthz)])
    for routes in backend.routes:
        app.add_routes(routes(database))
    return app


async def _healthz(_: web.Request) -> web.Response:
    return answer({"status": "ok"})


async def _hide_software(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.popall("Server", None)


@web.middleware
async def _log_changes(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    if request.method not in {"GET", "HEAD"} or response.status >= web.HTTPInternalServerError.status_code:
        structlog.get_logger().info(
            "request served",
            method=request.method,
            path=request.path,
            status=response.status,
            request_id=request.headers.get("X-Request-Id"),
            account_id=request.headers.get("X-Gateway-Account-Id"),
        )
    return response


@web.middleware
async def _answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except web.HTTPError as error:
        if error.content_type == "application/json":
            return web.Response(status=error.status, body=error.body, headers=error.headers)
        allow = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
        return error_answer(error.status, _sentence(request, error), allow)
    except asyncpg.DataError as error:
        # Validation should leave nothing for Postgres to refuse as a value; if it does, the client sent it.
        return error_answer(422, f"A value cannot be stored: {error}")
    except DatabaseAwayError:
        return error_answer(503, "The database does not answer; try again shortly", {"Retry-After": "1"})


def _sentence(request: web.Request, error: web.HTTPError) -> str:
    match error:
        case web.HTTPRequestEntityTooLarge():
            return f"The body is larger than {bodies.BODY_MAX_BYTES} bytes"
        case web.HTTPMethodNotAllowed():
            return f"{request.method} is not possible here"
        case web.HTTPNotFound():
            return "There is nothing at this path"
    return error.reason
