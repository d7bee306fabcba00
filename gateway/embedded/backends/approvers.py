"""Who may approve budgets, and by which rules: the configuration and the list of approvers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from gateway.embedded.backends import parameters
from gateway.embedded.backends.answers import answer
from gateway.embedded.backends.bodies import Amount, Body, Identifier, read
from gateway.embedded.backends.documents import Documents, create_table
from gateway.embedded.backends.resources import Resource

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.embedded.backends.database import Connection, Database

APPROVERS = Documents("demo_budgets.approvers", "Approver", "This user is an approver already")
CONFIGURATION = Documents("demo_budgets.approval_configuration", "Configuration")

STATEMENTS = f"""
    {create_table(APPROVERS.table)}
    CREATE UNIQUE INDEX ON {APPROVERS.table} ((document ->> 'userId'));
    {create_table(CONFIGURATION.table)}
"""

# The demo has one business and one person who uses it unless a request names another.
OWNER_ID = 1
_CONFIGURATION_ID = 1
_LIST_MAX = 1000
_ACTIVE_APPROVER = "(document ->> 'userId')::bigint = $1 AND (document ->> 'isActive')::boolean"


class NewApprover(Body):
    """What makes a user an approver."""

    user_id: Identifier
    notes: str | None = None
    is_active: bool = True
    assigned_by: Identifier = OWNER_ID
    business_id: Identifier = 1


class Configuration(Body):
    """The rules of approval."""

    requires_budget_approval: bool = True
    owner_can_approve: bool = True
    admin_can_approve: bool = True
    approval_threshold: Amount | None = None
    is_active: bool = True
    business_id: Identifier = 1


async def may_approve(connection: Connection, user_id: int) -> bool:
    """Whether that user may approve budgets: as the owner, if the rules let owners, or as an approver."""
    rules = await CONFIGURATION.get(connection, _CONFIGURATION_ID)
    if user_id == OWNER_ID and rules["ownerCanApprove"]:
        return True
    return await APPROVERS.count(connection, _ACTIVE_APPROVER, user_id) > 0


async def seed(connection: Connection) -> None:
    """Fill the new tables with the default rules and one approver."""
    await CONFIGURATION.insert(connection, Configuration.model_validate({"approvalThreshold": 1000}).document())
    head_of_sales = NewApprover.model_validate({"userId": 2, "notes": "Head of sales"})
    await APPROVERS.insert(connection, head_of_sales.document())


class Approvers(Resource):
    """Answers the requests about approvers and about the rules."""

    def __init__(self, database: Database) -> None:
        super().__init__(database, APPROVERS, NewApprover)

    async def list(self, _: web.Request) -> web.Response:
        """GET all approvers: an array directly in `data`."""
        async with self.database.connection() as connection:
            return answer(await APPROVERS.newest(connection, "true", limit=_LIST_MAX))

    async def can_approve(self, request: web.Request) -> web.Response:
        """GET whether `userId`, or else the owner, may approve."""
        user_id = parameters.number(request, "userId")
        async with self.database.connection() as connection:
            return answer({"canApprove": await may_approve(connection, OWNER_ID if user_id is None else user_id)})

    async def get_configuration(self, _: web.Request) -> web.Response:
        """GET the rules."""
        async with self.database.connection() as connection:
            return answer(await CONFIGURATION.get(connection, _CONFIGURATION_ID))

    async def configure(self, request: web.Request) -> web.Response:
        """POST the rules that shall be different; there is always a configuration, so this never creates one."""
        rules = await read(request, Configuration)
        async with self.database.connection() as connection:
            return answer(await CONFIGURATION.change(connection, _CONFIGURATION_ID, rules.changes()))


def routes(database: Database) -> Iterable[web.RouteDef]:
    """The routes about who may approve; they come before those with an approval's id."""
    approvers = Approvers(database)
    path = "/api/public/budget-approvals"
    return [
        web.get(f"{path}/config", approvers.get_configuration),
        web.post(f"{path}/config", approvers.configure),
        web.get(f"{path}/approvers", approvers.list),
        web.post(f"{path}/approvers", approvers.create),
        web.delete(f"{path}/approvers/{{id}}", approvers.delete),
        web.get(f"{path}/can-approve", approvers.can_approve),
    ]
