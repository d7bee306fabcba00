"""The budgets backend: budgets for key holders and for those who hold a public token."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.backends import Asker, backend, error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/api/public/budgets"
BODY = {"customerId": 7, "title": "Shelves", "items": [{"description": "Shelf", "quantity": 3, "unitPrice": 10.1}]}
DECIDED = (409, "conflict")


@pytest.fixture
async def budgets(postgres_dsn: str) -> AsyncIterator[Asker]:
    async with backend("budgets", postgres_dsn) as asker:
        yield asker


async def listed(budgets: Asker, query: str) -> list[dict[str, Any]]:
    answer = await budgets.get(f"{PATH}?limit=100&{query}")
    assert answer.status == 200, answer
    documents: list[dict[str, Any]] = answer.data["data"]
    return documents


@pytest.mark.parametrize(("number", "name"), [(0, "PENDING"), (1, "APPROVED"), (2, "REJECTED")])
async def test_status_filter_takes_the_number_and_the_name(budgets: Asker, number: int, name: str) -> None:
    found = await listed(budgets, f"status={number}")
    assert found
    assert {(budget["state"], budget["status"]) for budget in found} == {(number, name)}
    assert await listed(budgets, f"status={name}") == await listed(budgets, f"status={name.lower()}") == found


async def test_filters_by_customer_search_and_dates(budgets: Asker) -> None:
    assert {budget["customerId"] for budget in await listed(budgets, "customerId=1")} == {1}
    assert [budget["title"] for budget in await listed(budgets, "search=lamps")] == ["Lamps"]
    assert [budget["customerName"] for budget in await listed(budgets, "search=okafor")] == ["Grace Okafor"]
    for date in ("2020-02-28", "2020-03-01T23:00:00.000Z"):
        assert (await budgets.post(PATH, BODY | {"issueDate": date})).status == 201
    in_range = await listed(budgets, "startDate=2020-03-01&endDate=2020-03-01T00:00:00Z")
    assert [budget["issueDate"] for budget in in_range] == ["2020-03-01T23:00:00Z"]
    assert await listed(budgets, "startDate=2020-03-02&endDate=2020-03-01") == []


@pytest.mark.parametrize("query", ["status=3", "status=open", "customerId=x", "startDate=soon", "endDate=2020-02-30"])
async def test_filter_that_cannot_be_read_is_refused(budgets: Asker, query: str) -> None:
    assert error_of(await budgets.get(f"{PATH}?{query}")) == (422, "validation_error")


async def test_budget_lives_from_create_to_delete(budgets: Asker) -> None:
    created = await budgets.post(PATH, BODY)
    assert created.status == 201
    assert {"subtotal": 30.3, "total": 30.3, "state": 0, "status": "PENDING"}.items() <= created.data.items()
    assert created.data["number"] == f"B-{created.data['id']:06}"
    one = f"{PATH}/{created.data['id']}"
    assert (await budgets.get(one)).data == created.data
    assert (await budgets.put(one, {"comments": "Urgent"})).data["comments"] == "Urgent"
    assert (await budgets.delete(one)).status == 204
    assert (await budgets.get(one)).status == 404


async def test_total_follows_the_items_unless_it_is_given(budgets: Asker) -> None:
    one = f"{PATH}/{(await budgets.post(PATH, BODY | {'iva': 6, 'total': 99})).data['id']}"
    assert (await budgets.get(one)).data["total"] == 99
    changed = await budgets.put(one, {"items": [{"quantity": 2, "unitPrice": 5}]})
    assert (changed.data["subtotal"], changed.data["total"]) == (10, 16)
    assert (await budgets.put(one, {"total": 12.5})).data["total"] == 12.5


async def test_update_may_decide_once_and_repeat_itself(budgets: Asker) -> None:
    one = f"{PATH}/{(await budgets.post(PATH, BODY)).data['id']}"
    assert (await budgets.put(one, {"status": "APPROVED"})).data["state"] == 1
    assert (await budgets.put(one, {"state": 1, "comments": "Again"})).data["comments"] == "Again"
    assert error_of(await budgets.put(one, {"state": 2})) == DECIDED
    assert (await budgets.get(one)).data["status"] == "APPROVED"


async def test_public_form_returns_an_address_that_works(budgets: Asker) -> None:
    headers = {"X-Forwarded-Host": "shop.example.com", "X-Forwarded-Proto": "https"}
    created = await budgets.ask("POST", "/api/budgets/public", BODY, headers=headers)
    assert created.status == 201
    assert set(created.data) == {"success", "message", "publicUrl", "budgetId", "publicToken"}
    path = f"{PATH}/token/{created.data['publicToken']}"
    assert created.data["publicUrl"] == f"https://shop.example.com{path}"
    assert re.fullmatch(r"[A-Za-z0-9_-]{1,100}", created.data["publicToken"])
    found = await budgets.get(path)
    assert (found.data["id"], found.data["total"]) == (created.data["budgetId"], 30.3)


async def test_forwarded_host_that_is_no_host_is_not_repeated(budgets: Asker) -> None:
    created = await budgets.ask("POST", "/api/budgets/public", BODY, headers={"X-Forwarded-Host": 'a"<b>/c'})
    assert created.data["publicUrl"].startswith("http://localhost/")


async def test_customer_sees_a_budget_without_what_is_internal(budgets: Asker) -> None:
    by_token = (await budgets.get(f"{PATH}/token/demo-budget-1")).data
    by_id = (await budgets.get(f"{PATH}/public/1")).data
    assert by_token["publicToken"] == "demo-budget-1"
    assert not {"customerId", "sellerId", "businessId"} & set(by_token)
    assert "publicToken" not in by_id
    assert by_id["total"] == by_token["total"] > 0


@pytest.mark.parametrize(("verb", "state"), [("confirm", 1), ("reject", 2)])
async def test_customer_decides_once(budgets: Asker, verb: str, state: int) -> None:
    answer = await budgets.post(f"{PATH}/token/demo-budget-1/{verb}")
    assert (answer.status, answer.data["budget"]["state"]) == (200, state)
    assert answer.data["message"]
    assert (await budgets.get(f"{PATH}/1")).data["state"] == state
    for again in ("confirm", "reject"):
        assert error_of(await budgets.post(f"{PATH}/token/demo-budget-1/{again}")) == DECIDED


async def test_of_many_who_decide_at_once_one_succeeds(budgets: Asker) -> None:
    answers = await asyncio.gather(
        *(budgets.post(f"{PATH}/token/demo-budget-1/{verb}") for verb in ("confirm", "reject") * 8)
    )
    assert sorted({answer.status for answer in answers}) == [200, 409]
    assert sum(answer.status == 200 for answer in answers) == 1


@pytest.mark.parametrize("token", ["nothing", "a" * 101, "a.b", "%00", "%FF", "'--"])
async def test_unknown_token_is_not_found(budgets: Asker, token: str) -> None:
    assert error_of(await budgets.get(f"{PATH}/token/{token}")) == (404, "not_found")
    assert error_of(await budgets.post(f"{PATH}/token/{token}/confirm")) == (404, "not_found")
    assert error_of(await budgets.post(f"{PATH}/token/{token}/reject")) == (404, "not_found")


async def test_public_budget_of_unknown_id_is_not_found(budgets: Asker) -> None:
    assert error_of(await budgets.get(f"{PATH}/public/999")) == (404, "not_found")
    assert error_of(await budgets.get(f"{PATH}/public")) == (404, "not_found")
