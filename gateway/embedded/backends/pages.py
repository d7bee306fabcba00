"""The list parameters `page` and `limit`, and the nested shape of a page (contract section 6)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from gateway.embedded.backends import parameters
from gateway.embedded.backends.answers import answer, invalid

if TYPE_CHECKING:
    from aiohttp import web

_LIMIT_DEFAULT = 10
_LIMIT_MAX = 100
# Keeps the offset inside Postgres' bigint; nobody turns that many pages.
_PAGE_MAX = 10**12


@dataclasses.dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page was asked for, from 1, and how many documents a page holds, 1 to 100."""

    page: int
    limit: int

    @property
    def offset(self) -> int:
        """How many documents stand before this page."""
        return (self.page - 1) * self.limit

    def answer(self, documents: list[dict[str, Any]], total: int) -> web.Response:
        """The page: *documents* of the *total* that match."""
        meta = {
            "totalItems": total,
            "itemCount": len(documents),
            "itemsPerPage": self.limit,
            "totalPages": -(-total // self.limit),
            "currentPage": self.page,
        }
        pagination = {
            "page": self.page,
            "limit": self.limit,
            "total": total,
            "hasMore": self.offset + len(documents) < total,
        }
        return answer({"data": documents, "meta": meta}, pagination=pagination)


def page_request(request: web.Request) -> PageRequest:
    """Read `page` and `limit`: below 1 is 422, a limit above 100 means 100."""
    page = _at_least_one(request, "page", 1)
    if page > _PAGE_MAX:
        raise invalid([{"field": "page", "message": "is too large"}])
    return PageRequest(page, min(_at_least_one(request, "limit", _LIMIT_DEFAULT), _LIMIT_MAX))


def _at_least_one(request: web.Request, name: str, default: int) -> int:
    value = parameters.number(request, name)
    if value is None:
        return default
    if value < 1:
        raise invalid([{"field": name, "message": "must be at least 1"}])
    return value
