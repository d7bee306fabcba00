"""Who asks the control plane in tests that ask it without HTTP between, and whose keys are told of events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.adapters.postgres.accounts import create_account
from gateway.adapters.postgres.pool import Database
from tests.integration.managing import Managing, managing
from tests.integration.outbox import Outbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def nobody(postgres_dsn: str) -> AsyncIterator[Managing]:
    """The control plane on a database of the test's own, asked without a login."""
    async with managing(postgres_dsn) as asking:
        yield asking


@pytest.fixture
async def ada(nobody: Managing) -> Managing:
    """The same, asked by a user of an account of her own."""
    return await nobody.logged_in("ada@example.com")


@pytest.fixture
async def outbox(postgres_dsn: str) -> AsyncIterator[Outbox]:
    """An account on a database of the test's own."""
    async with Database(postgres_dsn) as database:
        async with database.connection() as connection:
            account_id = await create_account(connection, "Receivers")
        yield Outbox(database, account_id)
