"""Approvals of budgets inside the seller's business: `/api/public/budget-approvals`.

An approval is not the customer's decision: it leaves the budget's own state alone.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Literal

from aiohttp import web

from gateway.embedded.backends import parameters, seeds
from gateway.embedded.backends.answers import answer, conflict
from gateway.embedded.backends.approvers import OWNER_ID, may_approve
from gateway.embedded.backends.bodies import Body, Identifier, read
from gateway.embedded.backends.budgets import BUDGETS, DECIDED_ALREADY, State
from gateway.embedded.backends.documents import Documents, create_table, instant
from gateway.embedded.backends.pages import page_request
from gateway.embedded.backends.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.embedded.backends.database import Connection, Database

APPROVALS = Documents("demo_budgets.approvals", "Approval", "This budget waits for an approval already")

_OF_BUDGET = """, budget_id bigint NOT NULL GENERATED ALWAYS AS ((document ->> 'budgetId')::bigint) STORED
    CONSTRAINT "Budget" REFERENCES demo_budgets.budgets ON DELETE CASCADE"""

STATEMENTS = f"""
    {create_table(APPROVALS.table, _OF_BUDGET)}
    CREATE INDEX ON {APPROVALS.table} (budget_id);
    CREATE UNIQUE INDEX ON {APPROVALS.table} (budget_id) WHERE document ->> 'status' = 'pending';
"""

_FILTERED = """
    ($1::text IS NULL OR document ->> 'status' = $1)
    AND ($2::bigint IS NULL OR budget_id = $2)
    AND ($3::bigint IS NULL OR (document ->> 'requestedBy')::bigint = $3
        OR (document ->> 'approvedBy')::bigint = $3)"""

_STATUSES = {status: status for status in ("pending", "approved", "rejected", "cancelled")}
_OUTCOMES = {"approve": "approved", "reject": "rejected"}
_LIST_MAX = 1000


class NewApproval(Body):
    """A request to approve a budget."""

    budget_id: Identifier
    requested_by: Identifier = OWNER_ID
    request_notes: str | None = None


class Verdict(Body):
    """What an approver makes of an approval."""

    action: Literal["approve", "reject"]
    comments: str | None = None


async def seed(connection: Connection) -> None:
    """Fill the new table with one approval in each status."""
    for approval in seeds.approvals():
        await APPROVALS.insert(connection, approval)


class Approvals(Resource):
    """Answers the requests about approvals."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, APPROVALS, NewApproval)

    async def page(self, request: web.Request) -> web.Response:
        """GET the collection; `userId` finds what that user asked for or decided."""
        return await self.answer_page(
            page_request(request),
            _FILTERED,
            parameters.choice(request, "status", _STATUSES),
            parameters.number(request, "budgetId"),
            parameters.number(request, "userId"),
        )

    async def submit(self, request: web.Request) -> web.Response:
        """POST a budget for approval: 201; 404 for no such budget, 409 when it is decided or waits already."""
        body = await read(request, NewApproval)
        async with self.database.connection() as connection:
            budget = await BUDGETS.get(connection, body.budget_id)
            if budget["state"] != State.PENDING:
                raise conflict(DECIDED_ALREADY)
            submitted = body.document() | {"status": "pending", "action": "submitted"}
            return answer(await APPROVALS.insert(connection, submitted), 201)

    async def process(self, request: web.Request) -> web.Response:
        """POST a verdict; 409 when there is one already."""
        identifier = self.identifier(request)
        verdict = await read(request, Verdict)
        outcome = _OUTCOMES[verdict.action]
        moment = instant(datetime.datetime.now(datetime.UTC))
        changes = {
            "status": outcome,
            "action": outcome,
            "comments": verdict.comments,
            "approvedBy": OWNER_ID,
            "reviewedAt": moment,
            f"{outcome}At": moment,
        }
        async with self.database.connection() as connection:
            approval = await APPROVALS.change(
                connection,
                identifier,
                changes,
                only_if="document ->> 'status' = 'pending'",
                otherwise="This approval is decided already",
            )
        return answer(approval)

    async def pending(self, request: web.Request) -> web.Response:
        """GET what waits for `userId`, or for anybody: an array directly in `data`."""
        user_id = parameters.number(request, "userId")
        async with self.database.connection() as connection:
            if user_id is not None and not await may_approve(connection, user_id):
                return answer([])
            return answer(await APPROVALS.newest(connection, "document ->> 'status' = 'pending'", limit=_LIST_MAX))

    async def history(self, request: web.Request) -> web.Response:
        """GET all approvals, of `budgetId` if given: an array directly in `data`."""
        budget_id = parameters.number(request, "budgetId")
        async with self.database.connection() as connection:
            found = await APPROVALS.newest(
                connection, "$1::bigint IS NULL OR budget_id = $1", budget_id, limit=_LIST_MAX
            )
        return answer(found)

    async def stats(self, _: web.Request) -> web.Response:
        """GET how many approvals are in each status, and the total."""
        async with self.database.connection() as connection:
            counted = {
                status: await APPROVALS.count(connection, "document ->> 'status' = $1", status) for status in _STATUSES
            }
        return answer(counted | {"total": sum(counted.values())})


def routes(database: Database) -> Iterable[web.RouteDef]:
    """The routes about approvals."""
    approvals = Approvals(database)
    path = "/api/public/budget-approvals"
    return [
        web.get(path, approvals.page),
        web.post(f"{path}/submit", approvals.submit),
        web.get(f"{path}/pending", approvals.pending),
        web.get(f"{path}/history", approvals.history),
        web.get(f"{path}/stats", approvals.stats),
        web.get(f"{path}/{{id}}", approvals.get),
        web.post(f"{path}/{{id}}/process", approvals.process),
    ]
