"""Sessions: a login ends when its user may not go on, and means what the user is now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from gateway.adapters.postgres.accounts import change_password, find_user, set_disabled
from tests.integration.managing import CHEAP, PASSWORD, SMALL, Managing, managing
from tests.servers import execute

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EMAIL = "ada@example.com"
OTHER_PASSWORD = "another long password"


@pytest.fixture
async def ada(postgres_dsn: str) -> AsyncIterator[Managing]:
    async with managing(postgres_dsn) as asking:
        yield await asking.logged_in(EMAIL)


async def user_id(ada: Managing) -> str:
    async with ada.database.connection() as connection:
        user = await find_user(connection, EMAIL)
    assert user is not None
    return user.id


async def log_in_again(ada: Managing, password: str = PASSWORD) -> Managing:
    told = await replace(ada, token=None).told(200, "login", {"email": EMAIL, "password": password})
    return replace(ada, token=told["token"])


async def test_a_disabled_users_logins_have_ended_for_good(ada: Managing) -> None:
    user = await user_id(ada)
    async with ada.database.connection() as connection:
        await set_disabled(connection, user, disabled=True)
    told = await ada.told(401, "keys.list")
    assert told["error"] == "unauthorized"
    async with ada.database.connection() as connection:
        await set_disabled(connection, user, disabled=False)
    await ada.told(401, "keys.list")
    await (await log_in_again(ada)).told(200, "keys.list")


async def test_a_new_password_ends_logins_that_were_made_before(ada: Managing) -> None:
    async with ada.database.connection() as connection:
        await change_password(connection, await user_id(ada), CHEAP.hash(OTHER_PASSWORD))
    await ada.told(401, "keys.list")
    await (await log_in_again(ada, OTHER_PASSWORD)).told(200, "keys.list")


async def test_a_hash_that_is_renewed_ends_nothing(ada: Managing, postgres_dsn: str) -> None:
    auth = {"password_hash": {"time_cost": 2, "memory_kib": 64, "parallelism": 1}}
    async with managing(postgres_dsn, auth=auth) as dearer:
        await log_in_again(replace(dearer, token=None))
    await ada.told(200, "keys.list")


async def test_a_changed_role_holds_at_the_next_call(ada: Managing, postgres_dsn: str) -> None:
    bob = await ada.logged_in("bob@example.com")
    key_id = (await bob.told(201, "keys.create", SMALL))["id"]
    await ada.told(404, "keys.get", key_id=key_id)
    await execute(postgres_dsn, f"UPDATE users SET role = 'admin' WHERE email = '{EMAIL}'")
    await ada.told(200, "keys.get", key_id=key_id)
    await execute(postgres_dsn, f"UPDATE users SET role = 'member' WHERE email = '{EMAIL}'")
    await ada.told(404, "keys.get", key_id=key_id)


async def test_a_user_who_is_gone_has_no_login(ada: Managing, postgres_dsn: str) -> None:
    await execute(postgres_dsn, f"DELETE FROM users WHERE email = '{EMAIL}'")
    await ada.told(401, "keys.create", SMALL)
