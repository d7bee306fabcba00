"""Serves a demo backend inside the test, and asks it things."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from typing import TYPE_CHECKING, Any

from aiohttp.test_utils import TestClient, TestServer

from gateway.embedded.backends.application import application

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web


@dataclasses.dataclass(frozen=True, slots=True)
class Answer:
    """What came back; *body* is the parsed JSON, None when there was no body."""

    status: int
    headers: dict[str, str]
    body: Any

    @property
    def data(self) -> Any:
        """What a client of the vendor's SDK gets to see."""
        return self.body["data"]


class Asker:
    """Sends requests as the vendor's SDK does: JSON is declared even where there is no body."""

    def __init__(self, client: TestClient[web.Request, web.Application]) -> None:
        self._client = client

    async def ask(
        self,
        method: str,
        path: str,
        json: object = None,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        """Send *json*, or *raw* bytes, or no body; *path* is sent as it is written."""
        declared = {"Content-Type": "application/json"} | (headers or {})
        body: dict[str, Any] = {"data": raw and io.BytesIO(raw)} if json is None else {"json": json}
        async with self._client.request(
            method, path, headers=declared, allow_redirects=False, skip_auto_headers=["Content-Type"], **body
        ) as response:
            parsed = await response.json() if await response.read() else None
            return Answer(response.status, dict(response.headers), parsed)

    async def get(self, path: str) -> Answer:
        """GET *path*."""
        return await self.ask("GET", path)

    async def post(self, path: str, json: object = None) -> Answer:
        """POST *json*, or nothing, to *path*."""
        return await self.ask("POST", path, json)

    async def put(self, path: str, json: object) -> Answer:
        """PUT *json* to *path*."""
        return await self.ask("PUT", path, json)

    async def delete(self, path: str) -> Answer:
        """DELETE *path*."""
        return await self.ask("DELETE", path)


@contextlib.asynccontextmanager
async def backend(name: str, dsn: str) -> AsyncIterator[Asker]:
    """The backend called *name* on the database at *dsn*, served as its process would."""
    server = TestServer(application(name, dsn))
    await server.start_server(auto_decompress=False, access_log=None)
    async with TestClient(server) as client:
        yield Asker(client)


def error_of(answer: Answer) -> tuple[int, str]:
    """Status and code of a refusal, after checking that it says something."""
    assert answer.body["message"], answer
    return answer.status, answer.body["error"]
