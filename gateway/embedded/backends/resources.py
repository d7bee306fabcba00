"""What all resources have in common: get, create, update and delete one document, and list pages of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from gateway.embedded.backends import parameters
from gateway.embedded.backends.answers import answer
from gateway.embedded.backends.bodies import Body, partial, read

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.embedded.backends.database import Database
    from gateway.embedded.backends.documents import Documents
    from gateway.embedded.backends.pages import PageRequest


class Resource:
    """Answers the requests about the documents in *documents*, which clients write as *written*.

    A subclass says how pages are filtered, and overrides what is special about its documents.
    """

    def __init__(self, database: Database, documents: Documents, written: type[Body]) -> None:
        self.database = database
        self.documents = documents
        self.written = written
        self.partly_written = partial(written)

    def show(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document as clients see it."""
        return document

    async def get(self, request: web.Request) -> web.Response:
        """GET one: 200 or 404."""
        identifier = self.identifier(request)
        async with self.database.connection() as connection:
            return answer(self.show(await self.documents.get(connection, identifier)))

    async def create(self, request: web.Request) -> web.Response:
        """POST one: 201, or 409 for a duplicate."""
        body = await read(request, self.written)
        async with self.database.connection() as connection:
            return answer(self.show(await self.documents.insert(connection, body.document())), 201)

    async def update(self, request: web.Request) -> web.Response:
        """PUT the members that the body names: 200 with the whole, 404, or 409 for a duplicate."""
        identifier = self.identifier(request)
        changes = await read(request, self.partly_written)
        async with self.database.connection() as connection:
            return answer(self.show(await self.documents.change(connection, identifier, changes.changes())))

    async def delete(self, request: web.Request) -> web.Response:
        """DELETE one: 204 or 404."""
        identifier = self.identifier(request)
        async with self.database.connection() as connection:
            await self.documents.remove(connection, identifier)
        return web.Response(status=204)

    async def answer_page(self, wanted: PageRequest, condition: str, *values: object) -> web.Response:
        """The *wanted* page of what fulfils *condition*, newest first."""
        async with self.database.connection() as connection:
            total = await self.documents.count(connection, condition, *values)
            found = await self.documents.newest(
                connection, condition, *values, limit=wanted.limit, offset=wanted.offset
            )
        return wanted.answer([self.show(document) for document in found], total)

    def identifier(self, request: web.Request) -> int:
        """The id in the request's path."""
        return parameters.path_identifier(request, self.documents.noun)

    def one_routes(self, path: str) -> Iterable[web.RouteDef]:
        """POST to *path*; GET, PUT and DELETE of one below it. They come last, after more exact paths."""
        return [
            web.post(path, self.create),
            web.get(f"{path}/{{id}}", self.get),
            web.put(f"{path}/{{id}}", self.update),
            web.delete(f"{path}/{{id}}", self.delete),
        ]
