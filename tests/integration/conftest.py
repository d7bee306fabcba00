"""Who asks the control plane in tests that ask it without HTTP between."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.managing import Managing, managing

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
