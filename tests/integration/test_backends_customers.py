"""The customers backend, and with it what all resources share: pages, ids, partial updates, refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.backends import Asker, backend, error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PATH = "/api/public/customers"
MISSING = (404, "not_found")


@pytest.fixture
async def customers(postgres_dsn: str) -> AsyncIterator[Asker]:
    async with backend("customers", postgres_dsn) as asker:
        yield asker


async def test_page_has_the_nested_shape_that_the_sdk_reads(customers: Asker) -> None:
    answer = await customers.get(f"{PATH}?page=2&limit=5")
    assert answer.status == 200
    assert set(answer.body) == {"data", "pagination"}
    assert [customer["id"] for customer in answer.data["data"]] == [7, 6, 5, 4, 3]
    assert answer.data["meta"] == {
        "totalItems": 12,
        "itemCount": 5,
        "itemsPerPage": 5,
        "totalPages": 3,
        "currentPage": 2,
    }
    assert answer.body["pagination"] == {"page": 2, "limit": 5, "total": 12, "hasMore": True}


async def test_last_page_and_the_one_after_it_have_no_more(customers: Asker) -> None:
    last = await customers.get(f"{PATH}?page=3&limit=5")
    assert (len(last.data["data"]), last.body["pagination"]["hasMore"]) == (2, False)
    beyond = await customers.get(f"{PATH}?page=999999999999&limit=100")
    assert (beyond.data["data"], beyond.body["pagination"]["total"]) == ([], 12)


async def test_limit_above_100_means_100(customers: Asker) -> None:
    assert (await customers.get(f"{PATH}?limit=101")).data["meta"]["itemsPerPage"] == 100


@pytest.mark.parametrize(
    "query",
    ["page=0", "limit=0", "page=-1", "limit=x", "page=1_0", "page=%2B1", "page=%D9%A1", "page=1000000000001"],
)
async def test_page_and_limit_must_be_plain_numbers_from_one(customers: Asker, query: str) -> None:
    assert error_of(await customers.get(f"{PATH}?{query}")) == (422, "validation_error")


@pytest.mark.parametrize("term", ["john", "DOE", "john%20doe", "john.doe@", "212%20555"])
async def test_search_looks_at_names_email_and_phone_in_any_case(customers: Asker, term: str) -> None:
    found = (await customers.get(f"{PATH}?search={term}")).data["data"]
    assert [customer["lastName"] for customer in found] == ["Doe"]


async def test_search_takes_pattern_characters_as_they_are(customers: Asker) -> None:
    assert (await customers.get(f"{PATH}?search=%25")).data["data"] == []


async def test_customer_lives_from_create_to_delete(customers: Asker) -> None:
    created = await customers.post(PATH, {"firstName": "Zoë", "lastName": "Å", "email": "zoe@example.com"})
    assert created.status == 201
    assert {"firstName": "Zoë", "lastName": "Å", "phoneNumber": None}.items() <= created.data.items()
    one = f"{PATH}/{created.data['id']}"
    assert (await customers.get(one)).data == created.data

    changed = await customers.put(one, {"phoneNumber": "+1 555"})
    assert changed.status == 200
    assert changed.data == created.data | {"phoneNumber": "+1 555", "updatedAt": changed.data["updatedAt"]}

    gone = await customers.delete(one)
    assert (gone.status, gone.body) == (204, None)
    assert error_of(await customers.get(one)) == MISSING
    assert error_of(await customers.put(one, {"firstName": "A"})) == MISSING
    assert error_of(await customers.delete(one)) == MISSING


async def test_email_of_another_customer_is_a_conflict_in_any_case(customers: Asker) -> None:
    body = {"firstName": "J", "lastName": "D", "email": "JOHN.DOE@example.com"}
    assert error_of(await customers.post(PATH, body)) == (409, "conflict")
    assert error_of(await customers.put(f"{PATH}/1", {"email": "john.doe@example.com"})) == (409, "conflict")


async def test_two_customers_may_both_have_no_email(customers: Asker) -> None:
    for _ in range(2):
        assert (await customers.post(PATH, {"firstName": "J", "lastName": "D"})).status == 201


async def test_empty_post_is_an_empty_object_that_lacks_its_required_members(customers: Asker) -> None:
    answer = await customers.post(PATH)
    assert error_of(answer) == (422, "validation_error")
    assert {problem["field"] for problem in answer.body["errors"]} == {"firstName", "lastName"}


async def test_required_member_cannot_be_set_to_null_later(customers: Asker) -> None:
    assert error_of(await customers.put(f"{PATH}/1", {"firstName": None})) == (422, "validation_error")


async def test_head_answers_like_get_without_the_body(customers: Asker) -> None:
    got, headed = await customers.get(f"{PATH}/1"), await customers.ask("HEAD", f"{PATH}/1")
    assert (headed.status, headed.body) == (200, None)
    assert headed.headers["Content-Length"] == got.headers["Content-Length"]


@pytest.mark.parametrize(
    "identifier", ["x", "0", "-1", "1.0", "1e0", "+1", "%201", "%D9%A1", "%00", "%FF", "9223372036854775808", "9" * 400]
)
async def test_what_cannot_be_an_id_is_not_found(customers: Asker, identifier: str) -> None:
    assert error_of(await customers.get(f"{PATH}/{identifier}")) == MISSING
    assert error_of(await customers.put(f"{PATH}/{identifier}", {})) == MISSING
    assert error_of(await customers.delete(f"{PATH}/{identifier}")) == MISSING


async def test_largest_id_is_looked_up(customers: Asker) -> None:
    answer = await customers.get(f"{PATH}/9223372036854775807")
    assert answer.body["message"] == "Customer 9223372036854775807 not found"


async def test_unknown_path_and_method_are_refused_in_json_and_never_redirected(customers: Asker) -> None:
    assert error_of(await customers.get("/api/public/nothing")) == MISSING
    assert error_of(await customers.get(f"{PATH}/")) == MISSING
    refused = await customers.ask("PATCH", f"{PATH}/1")
    assert error_of(refused) == (405, "method_not_allowed")
    assert refused.headers["Allow"] == "DELETE,GET,HEAD,PUT"


async def test_no_answer_names_its_software(customers: Asker) -> None:
    assert "Server" not in (await customers.get(PATH)).headers
