"""The budgets backend: approvals, approvers and their rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.backends import Asker, backend, error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/api/public/budget-approvals"
APPROVER_ID, STRANGER_ID = 2, 99


@pytest.fixture
async def approvals(postgres_dsn: str) -> AsyncIterator[Asker]:
    async with backend("budgets", postgres_dsn) as asker:
        yield asker


async def test_configuration_keeps_what_is_not_named(approvals: Asker) -> None:
    before = (await approvals.get(f"{PATH}/config")).data
    assert {"requiresBudgetApproval": True, "approvalThreshold": 1000}.items() <= before.items()
    changed = await approvals.post(f"{PATH}/config", {"approvalThreshold": 5.5})
    assert changed.status == 200
    after = (await approvals.get(f"{PATH}/config")).data
    assert after == before | {"approvalThreshold": 5.5, "updatedAt": after["updatedAt"]} == changed.data
    assert (await approvals.post(f"{PATH}/config")).data["approvalThreshold"] == 5.5


async def test_approvers_are_an_array_directly_in_data(approvals: Asker) -> None:
    assert [approver["userId"] for approver in (await approvals.get(f"{PATH}/approvers")).data] == [APPROVER_ID]
    assigned = await approvals.post(f"{PATH}/approvers", {"userId": 7, "notes": "Deputy"})
    assert (assigned.status, assigned.data["isActive"]) == (201, True)
    assert error_of(await approvals.post(f"{PATH}/approvers", {"userId": 7})) == (409, "conflict")
    assert (await approvals.delete(f"{PATH}/approvers/{assigned.data['id']}")).status == 204
    assert error_of(await approvals.delete(f"{PATH}/approvers/{assigned.data['id']}")) == (404, "not_found")
    assert [approver["userId"] for approver in (await approvals.get(f"{PATH}/approvers")).data] == [APPROVER_ID]


async def test_owner_and_approvers_can_approve_others_cannot(approvals: Asker) -> None:
    async def can(query: str) -> object:
        return (await approvals.get(f"{PATH}/can-approve{query}")).data

    assert await can("") == await can(f"?userId={APPROVER_ID}") == {"canApprove": True}
    assert await can(f"?userId={STRANGER_ID}") == {"canApprove": False}
    await approvals.post(f"{PATH}/config", {"ownerCanApprove": False})
    assert await can("") == {"canApprove": False}


@pytest.mark.parametrize(("action", "status"), [("approve", "approved"), ("reject", "rejected")])
async def test_submitted_budget_waits_until_it_is_processed_once(approvals: Asker, action: str, status: str) -> None:
    submitted = await approvals.post(f"{PATH}/submit", {"budgetId": 1, "requestNotes": "Please"})
    assert submitted.status == 201
    assert {"budgetId": 1, "status": "pending", "action": "submitted"}.items() <= submitted.data.items()
    assert error_of(await approvals.post(f"{PATH}/submit", {"budgetId": 1})) == (409, "conflict")
    one = f"{PATH}/{submitted.data['id']}"

    processed = await approvals.post(f"{one}/process", {"action": action, "comments": "Seen"})
    assert (processed.status, processed.data["status"], processed.data["comments"]) == (200, status, "Seen")
    assert (await approvals.get(one)).data == processed.data
    assert error_of(await approvals.post(f"{one}/process", {"action": action})) == (409, "conflict")
    assert (await approvals.post(f"{PATH}/submit", {"budgetId": 1})).status == 201


async def test_what_cannot_be_submitted_or_processed_is_refused(approvals: Asker) -> None:
    assert error_of(await approvals.post(f"{PATH}/submit")) == (422, "validation_error")
    assert error_of(await approvals.post(f"{PATH}/submit", {"budgetId": 999})) == (404, "not_found")
    assert error_of(await approvals.post(f"{PATH}/submit", {"budgetId": 2})) == (409, "conflict")
    assert error_of(await approvals.post(f"{PATH}/4/process", {"action": "ponder"})) == (422, "validation_error")
    assert error_of(await approvals.post(f"{PATH}/999/process", {"action": "approve"})) == (404, "not_found")


async def test_pending_lists_what_a_user_may_decide(approvals: Asker) -> None:
    everything = (await approvals.get(f"{PATH}/pending")).data
    assert [approval["status"] for approval in everything] == ["pending"]
    assert (await approvals.get(f"{PATH}/pending?userId={APPROVER_ID}")).data == everything
    assert (await approvals.get(f"{PATH}/pending?userId={STRANGER_ID}")).data == []


async def test_history_is_of_all_budgets_or_of_one(approvals: Asker) -> None:
    assert len((await approvals.get(f"{PATH}/history")).data) == 4
    assert [approval["budgetId"] for approval in (await approvals.get(f"{PATH}/history?budgetId=2")).data] == [2]


async def test_stats_count_every_status(approvals: Asker) -> None:
    expected = {"pending": 1, "approved": 1, "rejected": 1, "cancelled": 1, "total": 4}
    assert (await approvals.get(f"{PATH}/stats")).data == expected


@pytest.mark.parametrize(
    ("query", "budget_ids"),
    [
        ("", [3, 6, 4, 2]),
        ("status=approved", [2]),
        ("status=CANCELLED", [6]),
        ("budgetId=4", [4]),
        ("userId=2", [4, 2]),
    ],
)
async def test_filters_narrow_the_page(approvals: Asker, query: str, budget_ids: list[int]) -> None:
    page = await approvals.get(f"{PATH}?{query}")
    assert [approval["budgetId"] for approval in page.data["data"]] == budget_ids
    assert page.data["meta"]["totalItems"] == len(budget_ids)


async def test_approvals_go_with_their_budget(approvals: Asker) -> None:
    assert (await approvals.delete("/api/public/budgets/3")).status == 204
    assert (await approvals.get(f"{PATH}/stats")).data["pending"] == 0
